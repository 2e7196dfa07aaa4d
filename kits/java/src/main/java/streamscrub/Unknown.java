package streamscrub;

/** The check API gave no verdict: do not dial. {@code status} is that of its answer; 0 if none came. */
public final class Unknown extends RuntimeException {
    public final int status;

    public Unknown(String why, int status) {
        super(why);
        this.status = status;
    }
}
