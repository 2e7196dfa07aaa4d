package streamscrub;

import java.util.List;
import org.apache.kafka.common.TopicPartition;

/**
 * A prospect that may be called, if {@code mayDial} says so of the moment.
 *
 * @param numbers in E.164: call these and no others
 * @param key as the producer wrote it
 * @param value of the record, with the stamp unless that is in a header
 */
public record Lead(List<String> numbers, byte[] key, byte[] value, Stamp stamp, TopicPartition partition, long offset) {
    /** Without numbers: none may get into a log. */
    @Override
    public String toString() {
        return "Lead[" + partition + "/" + offset + ", " + stamp + "]";
    }
}
