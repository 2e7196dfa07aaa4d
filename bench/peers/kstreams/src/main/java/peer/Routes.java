package peer;

import java.util.Optional;
import java.util.Set;
import java.util.stream.IntStream;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Produced;

/** The input topic, and where a verdict goes: to the topic that it names, in the partition that the prospect came from. */
record Routes(String prospects, String allowed, String blocked) {
  /** A judged prospect. */
  record Out(boolean blocked, byte[] value, int partition) {}

  private static final Serde<Out> OUT =
      Serdes.serdeFrom(
          (topic, out) -> out.value(),
          (topic, bytes) -> {
            throw new UnsupportedOperationException("only written, never read");
          });
  // Made once: Streams asks for such a set for every record.
  private static final Optional<Set<Integer>>[] PARTITIONS = sets(1024);

  void emit(KStream<byte[], Out> judged) {
    judged.to(
        (key, out, context) -> out.blocked() ? blocked : allowed,
        Produced.with(Serdes.ByteArray(), OUT)
            .withStreamPartitioner((topic, key, out, count) -> PARTITIONS[out.partition()]));
  }

  @SuppressWarnings("unchecked")
  private static Optional<Set<Integer>>[] sets(int count) {
    return IntStream.range(0, count).mapToObj(each -> Optional.of(Set.of(each))).toArray(Optional[]::new);
  }
}
