package streamscrub;

import com.fasterxml.jackson.databind.JsonNode;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import org.roaringbitmap.longlong.Roaring64NavigableMap;

/** One register on the log, or the rules: as its last seal left it, and the parts that wait for the next one. */
final class RegisterReplay {
    String kind, chain = Delta.GENESIS;
    long seq, count;
    Instant effectiveAt, nextEnd;
    JsonNode areas, hashed;
    final List<Delta.Part> parts = new ArrayList<>();
    final Roaring64NavigableMap numbers = Numbers.none();
    final Set<String> texts = new HashSet<>(); // of the rules: their digests

    /** Checks a delta of a register (checks 6, 7 and 11). Nothing is changed yet. */
    void check(Delta delta) {
        var held = numbers.getLongCardinality();
        long adds = delta.number("adds"), removes = delta.number("removes"), after = delta.number("count");
        var restates = isRestated(delta);
        Delta.need(delta.texts.isEmpty() && List.of("deny", "allow").contains(delta.string("register_kind")),
            "it is no register of numbers");
        Delta.need(Objects.equals(hashed, delta.seal.get("hashed")) || removes == held,
            "its numbers are hashed in another way than those that it keeps");
        if (restates) {
            Delta.need(removes == 0 && after == held && adds == held && Numbers.common(numbers, delta.adds) == held,
                "a full restatement differs from what the deltas before it gave");
        } else {
            Delta.need(Numbers.common(numbers, delta.adds) == 0 && Numbers.common(numbers, delta.removes) == removes,
                "it adds numbers that are there, or removes numbers that are not");
            Delta.need(held + adds - removes == after, "the register would hold another count of numbers");
        }
        var known = Numbers.common(numbers, delta.ending) + (restates ? 0 : Numbers.common(delta.adds, delta.ending));
        Delta.need(Numbers.common(delta.removes, delta.ending) == 0 && known == delta.number("ends"),
            "it states ends of numbers that the register does not hold");
        Delta.need(mayBeNext(delta, restates), "the next end cannot be the earliest of the register's ends");
    }

    /** Checks a delta of the rules (check 8). */
    void checkRules(Delta delta) {
        Delta.need(delta.number("adds") + delta.number("removes") + delta.number("ends") == 0 && delta.moment("next_end") == null,
            "the rules hold no numbers");
        var after = new HashSet<>(texts);
        after.addAll(delta.texts);
        var expected = isRestated(delta) ? delta.texts.equals(texts) : after.size() == texts.size() + delta.texts.size();
        Delta.need(expected, "its rules are on the log already, or not those that it restates");
        Delta.need(after.size() == delta.number("count"), "there would be another count of rules");
    }

    /** Changes what the delta changes. */
    void apply(Delta delta) {
        if (!isRestated(delta)) {
            numbers.andNot(delta.removes);
            numbers.or(delta.adds);
        }
        texts.addAll(delta.texts);
        kind = delta.string("register_kind");
        chain = delta.string("chain");
        seq = delta.number("seq");
        count = delta.number("count");
        effectiveAt = delta.moment("effective_at");
        nextEnd = delta.moment("next_end");
        areas = delta.seal.get("areas");
        hashed = delta.seal.get("hashed");
        parts.clear();
    }

    private boolean isRestated(Delta delta) {
        return delta.isFull() && seq > 0;
    }

    /** Whether the seal's next end can be right, as far as that can be known without every end. */
    private boolean mayBeNext(Delta delta, boolean restates) {
        Instant next = delta.moment("next_end"), stated = delta.nextStated;
        if (restates) {
            return Objects.equals(next, stated);
        }
        if (delta.number("removes") == 0 && delta.number("ends") == 0) {
            return Objects.equals(next, nextEnd);
        }
        if (next == null) {
            return stated == null;
        }
        return next.equals(stated) || next.equals(nextEnd)
            || nextEnd != null && nextEnd.isBefore(next) && (stated == null || next.isBefore(stated));
    }
}
