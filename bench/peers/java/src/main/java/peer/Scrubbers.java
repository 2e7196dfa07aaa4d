package peer;

import java.util.Optional;
import java.util.Set;
import java.util.stream.IntStream;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.GlobalKTable;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.processor.api.ContextualFixedKeyProcessor;
import org.apache.kafka.streams.processor.api.FixedKeyProcessorSupplier;
import org.apache.kafka.streams.processor.api.FixedKeyRecord;
import org.apache.kafka.streams.state.KeyValueStore;

/** The topologies of Kafka Streams. */
final class Scrubbers {
  /** A step that knows which partition a prospect came from. */
  interface Step<T> {
    T apply(byte[] value, int partition);
  }

  private static final Serde<byte[]> BYTES = Serdes.ByteArray();
  private static final Serde<Routes.Out> OUT =
      Serdes.serdeFrom(
          (topic, out) -> out.value(),
          (topic, bytes) -> {
            throw new UnsupportedOperationException("only written, never read");
          });
  // Made once: Streams asks for such a set for every record.
  private static final Optional<Set<Integer>>[] PARTITIONS = sets(1024);

  private Scrubbers() {}

  /** prospects, judged in one step, to the topic of the verdict. */
  static Topology inMemory(Routes routes, Step<Routes.Out> scrub) {
    StreamsBuilder builder = new StreamsBuilder();
    KStream<byte[], byte[]> prospects = builder.stream(routes.prospects(), Consumed.with(BYTES, BYTES));
    emit(prospects.processValues(step(scrub)), routes);
    return builder.build();
  }

  /** prospects, parsed, joined with the table of opposed numbers, to the topic of the verdict. */
  static Topology withGlobalTable(Routes routes, String table) {
    StreamsBuilder builder = new StreamsBuilder();
    GlobalKTable<String, byte[]> opposed =
        builder.globalTable(
            table,
            Consumed.with(Serdes.String(), BYTES),
            Materialized.<String, byte[], KeyValueStore<Bytes, byte[]>>as("opposed"));
    KStream<byte[], byte[]> prospects = builder.stream(routes.prospects(), Consumed.with(BYTES, BYTES));
    emit(
        prospects
            .processValues(step(Tree::parse))
            .leftJoin(opposed, (key, parsed) -> parsed.e164(), (parsed, hit) -> parsed.judged(hit != null)),
        routes);
    return builder.build();
  }

  private static void emit(KStream<byte[], Routes.Out> judged, Routes routes) {
    judged.to(
        (key, out, context) -> routes.topic(out),
        Produced.with(BYTES, OUT).withStreamPartitioner((topic, key, out, count) -> PARTITIONS[out.partition()]));
  }

  @SuppressWarnings("unchecked")
  private static Optional<Set<Integer>>[] sets(int count) {
    return IntStream.range(0, count).mapToObj(each -> Optional.of(Set.of(each))).toArray(Optional[]::new);
  }

  private static <T> FixedKeyProcessorSupplier<byte[], byte[], T> step(Step<T> step) {
    return () ->
        new ContextualFixedKeyProcessor<>() {
          @Override
          public void process(FixedKeyRecord<byte[], byte[]> prospect) {
            int partition = context().recordMetadata().orElseThrow().partition();
            context().forward(prospect.withValue(step.apply(prospect.value(), partition)));
          }
        };
  }
}
