package streamscrub;

/** No answer would be safe now: do not call, and try again. */
public final class Unavailable extends RuntimeException {
    public Unavailable(String why) {
        super(why);
    }
}
