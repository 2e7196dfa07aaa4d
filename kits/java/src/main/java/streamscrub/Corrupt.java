package streamscrub;

/** A record breaks its format, or a topic lost records: nothing may be allowed any more by what was read. */
public final class Corrupt extends RuntimeException {
    /** The record's offset; -1 if it is no single record. */
    public final long offset;

    public Corrupt(long offset, String what) {
        super(offset < 0 ? what : "offset " + offset + ": " + what);
        this.offset = offset;
    }
}
