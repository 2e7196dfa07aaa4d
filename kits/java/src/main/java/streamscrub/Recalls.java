package streamscrub;

import com.fasterxml.jackson.databind.JsonNode;
import java.time.Duration;
import java.time.Instant;
import java.time.OffsetDateTime;
import java.util.Collection;
import java.util.HashMap;
import java.util.Map;
import java.util.regex.Pattern;
import org.apache.kafka.common.TopicPartition;

/** What prospects.recalled has said so far: when each number was recalled last, and which registers are suspended. */
final class Recalls {
    // Positions begin again on a renewed log: they are compared within this time alone.
    private static final Duration ONE_LOG = Duration.ofDays(1);
    // A recall stops a verdict that is up to a day later, and its moment is up to a day after its record's timestamp (a
    // worker's clock that is ahead). The third day is for the clocks of brokers and diallers.
    private static final Duration WRITTEN_BEFORE = Duration.ofDays(3);
    private static final Pattern NUMBER = Pattern.compile("\\+[0-9]{2,20}");
    private static final int PRUNE_EVERY = 100_000;

    /** The moment of a recall, and its position on the log. */
    private record Order(Instant at, long index) {
        boolean isBefore(Order other) {
            return at.isBefore(other.at) || at.equals(other.at) && index < other.index;
        }

        /** One order that stops what either does. */
        Order joined(Order other) {
            var newer = isBefore(other) ? other : this;
            var older = newer == this ? other : this;
            var isApart = older.at.plus(ONE_LOG).isBefore(newer.at);
            return isApart ? newer : new Order(newer.at, Math.max(index, other.index));
        }

        boolean stops(Stamp stamp) {
            return !stamp.at().isAfter(at) || !stamp.at().isAfter(at.plus(ONE_LOG)) && stamp.index() < index;
        }
    }

    private record State(Order order, boolean isSuspended) {}

    private final Duration maxAge;
    private final Map<String, Order> last = new HashMap<>();
    private final Map<String, State> registers = new HashMap<>();
    private final Map<TopicPartition, Long> proven = new HashMap<>();
    private int taken;
    private Instant forgotten; // verdicts until then count as recalled: their recalls may not be known here

    /** {@code maxAge}: verdicts that are older are never asked about. */
    Recalls(Duration maxAge) {
        this.maxAge = maxAge;
        forgotten = Instant.now().minus(maxAge);
    }

    /** The moment from which on records must be read: older ones take back no verdict that is asked about. */
    Instant since() {
        return forgotten.minus(WRITTEN_BEFORE);
    }

    /** Takes a record, written after that moment ({@link System#nanoTime}; null: unknown). Throws IllegalArgumentException
     * if it cannot be read: whom it stops is unknown. */
    void take(byte[] value, Long writtenAfter) {
        var notice = Stamp.read(value == null ? new byte[0] : value);
        if (notice.path("kind").asText().equals("alive")) {
            if (writtenAfter != null) {
                prove(notice.path("partitions"), writtenAfter - 1_000_000 * Math.max(0, notice.path("lag_ms").asLong()));
            }
            return;
        }
        var order = orderOf(notice);
        var number = notice.path("number").asText("");
        var register = notice.path("register").asText("");
        switch (notice.path("kind").asText()) {
            case "recalled" -> {
                need(NUMBER.matcher(number).matches());
                last.merge(number, order, Order::joined);
                if (++taken % PRUNE_EVERY == 0) {
                    prune(Instant.now().minus(maxAge));
                }
            }
            case "suspended", "resumed" -> {
                need(!register.isEmpty());
                var now = new State(order, notice.get("kind").asText().equals("suspended"));
                registers.merge(register, now, (before, later) -> later.order.isBefore(before.order) ? before : later);
            }
            default -> need(false);
        }
    }

    private void prune(Instant oldest) {
        if (oldest.isAfter(forgotten)) {
            forgotten = oldest;
            last.values().removeIf(each -> each.at.plus(ONE_LOG).isBefore(oldest));
        }
    }

    private void prove(JsonNode partitions, long at) {
        for (var each : partitions) {
            var name = each.asText();
            var slash = name.lastIndexOf('/');
            if (slash > 0 && name.substring(slash + 1).matches("[0-9]{1,9}")) {
                var partition = new TopicPartition(name.substring(0, slash), Integer.parseInt(name.substring(slash + 1)));
                proven.merge(partition, at, (before, now) -> now - before > 0 ? now : before);
            }
        }
    }

    /** Whether recall has not shown for longer than this that it works for these partitions of leads. */
    boolean isSilent(Collection<TopicPartition> partitions, Duration lagMax) {
        var now = System.nanoTime();
        return partitions.stream().anyMatch(each -> !proven.containsKey(each) || now - proven.get(each) > lagMax.toNanos());
    }

    private static Order orderOf(JsonNode notice) {
        need(notice.path("index").isIntegralNumber() && notice.get("index").asLong() >= 0);
        try {
            return new Order(OffsetDateTime.parse(notice.path("at").asText()).toInstant(), notice.get("index").asLong());
        } catch (java.time.DateTimeException error) {
            throw new IllegalArgumentException("it is no recall that this kit can read");
        }
    }

    private static void need(boolean isSo) {
        if (!isSo) {
            throw new IllegalArgumentException("it is no recall that this kit can read");
        }
    }

    /** Whether this number of a stamp was recalled since its verdict. */
    boolean stop(String number, Stamp stamp) {
        var order = last.get(number);
        return !stamp.at().isAfter(forgotten) || order != null && order.stops(stamp);
    }

    /** Whether any register is suspended. Which rules ask it is unknown here. */
    boolean isSuspended() {
        return registers.values().stream().anyMatch(State::isSuspended);
    }
}
