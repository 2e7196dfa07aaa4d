package streamscrub;

/** The brokers do not answer now. */
final class Unavailable extends RuntimeException {
    Unavailable(String why) {
        super(why);
    }
}
