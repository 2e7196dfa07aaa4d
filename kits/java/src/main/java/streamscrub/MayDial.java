package streamscrub;

import java.time.Instant;

/**
 * Whether a lead may be called now. A no with {@code notBefore} leaves it with the dialler: postpone it until then. Every other
 * no has taken it back: do not acknowledge it.
 *
 * @param why of a no: docs/dialler.md lists them; else empty
 * @param notBefore when to ask again; null if it was taken back
 */
public record MayDial(boolean allowed, String why, Instant notBefore) {}
