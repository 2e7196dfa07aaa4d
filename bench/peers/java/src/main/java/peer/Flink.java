package peer;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.functions.RichMapFunction;
import org.apache.flink.api.common.typeinfo.TypeHint;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.configuration.CheckpointingOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.ExternalizedCheckpointRetention;
import org.apache.flink.configuration.PipelineOptions;
import org.apache.flink.configuration.RestartStrategyOptions;
import org.apache.flink.configuration.StateRecoveryOptions;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.core.execution.JobClient;
import org.apache.flink.core.execution.SavepointFormatType;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.OffsetResetStrategy;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;

/**
 * The scrubber that one would write with Flink: source, one operator and sink in one task, exactly-once by checkpoints.
 * Says "ready" when it begins to read. Runs until SIGTERM and then ends with code 0; an error ends it with code 1.
 */
final class Flink {
  private static final int CHECKPOINT_MS = 1_000;

  private Flink() {}

  public static void main(String[] args) throws Exception {
    Given given = Given.of(args);
    Path state = Path.of(given.flags().get("state"), given.group());
    StreamExecutionEnvironment env = StreamExecutionEnvironment.getExecutionEnvironment(configuration(state));
    env.setParallelism(1);
    env.enableCheckpointing(CHECKPOINT_MS);
    env.fromSource(source(given), WatermarkStrategy.noWatermarks(), "prospects")
        .map(new Judge(given.routes(), given.register(), given.flags().containsKey("hand-tuned")))
        .returns(new TypeHint<ProducerRecord<byte[], byte[]>>() {})
        .sinkTo(sink(given));
    JobClient job = env.executeAsync();
    // A JVM that ends by a signal ends with code 143, whatever its hooks did: hence halt.
    Runtime.getRuntime().addShutdownHook(new Thread(() -> Runtime.getRuntime().halt(stopped(job, state) ? 0 : 1)));
    try {
      job.getJobExecutionResult().get();
    } catch (Exception error) {
      error.printStackTrace();
      Runtime.getRuntime().halt(1);
    }
  }

  private static boolean stopped(JobClient job, Path state) {
    try {
      job.stopWithSavepoint(false, state.toUri().toString(), SavepointFormatType.NATIVE).get(20, TimeUnit.SECONDS);
      return true;
    } catch (Exception error) {
      error.printStackTrace();
      return false;
    }
  }

  /** Objects go from step to step uncopied; the first error ends the job; a killed one goes on from its last checkpoint. */
  private static Configuration configuration(Path state) throws IOException {
    Configuration c = new Configuration();
    c.set(PipelineOptions.OBJECT_REUSE, true);
    c.set(RestartStrategyOptions.RESTART_STRATEGY, "disable");
    c.set(CheckpointingOptions.CHECKPOINTS_DIRECTORY, state.toUri().toString());
    c.set(
        CheckpointingOptions.EXTERNALIZED_CHECKPOINT_RETENTION,
        ExternalizedCheckpointRetention.RETAIN_ON_CANCELLATION);
    last(state).ifPresent(checkpoint -> c.set(StateRecoveryOptions.SAVEPOINT_PATH, checkpoint.toUri().toString()));
    return c;
  }

  private static Optional<Path> last(Path state) throws IOException {
    Files.createDirectories(state);
    try (Stream<Path> files = Files.walk(state)) {
      return files
          .filter(file -> file.endsWith("_metadata"))
          .max(Comparator.comparing(file -> file.toFile().lastModified()))
          .map(Path::getParent);
    }
  }

  private static KafkaSource<ConsumerRecord<byte[], byte[]>> source(Given given) {
    return KafkaSource.<ConsumerRecord<byte[], byte[]>>builder()
        .setBootstrapServers(given.bootstrap())
        .setTopics(given.routes().prospects())
        .setGroupId(given.group())
        .setStartingOffsets(OffsetsInitializer.committedOffsets(OffsetResetStrategy.EARLIEST))
        .setDeserializer(new AsItIs())
        .setProperty(ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed")
        .setProperty(ConsumerConfig.MAX_POLL_RECORDS_CONFIG, "5000")
        .setProperty(ConsumerConfig.FETCH_MIN_BYTES_CONFIG, "65536")
        .setProperty(ConsumerConfig.FETCH_MAX_WAIT_MS_CONFIG, "50")
        .setProperty(ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG, "2097152")
        .build();
  }

  private static KafkaSink<ProducerRecord<byte[], byte[]>> sink(Given given) {
    KafkaRecordSerializationSchema<ProducerRecord<byte[], byte[]>> asItIs = (out, context, timestamp) -> out;
    return KafkaSink.<ProducerRecord<byte[], byte[]>>builder()
        .setBootstrapServers(given.bootstrap())
        .setRecordSerializer(asItIs)
        .setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE)
        .setTransactionalIdPrefix(given.group())
        .setProperty(ProducerConfig.TRANSACTION_TIMEOUT_CONFIG, "60000")
        .setProperty(ProducerConfig.COMPRESSION_TYPE_CONFIG, "lz4")
        .setProperty(ProducerConfig.LINGER_MS_CONFIG, "50")
        .setProperty(ProducerConfig.BATCH_SIZE_CONFIG, "524288")
        .setProperty(ProducerConfig.BUFFER_MEMORY_CONFIG, "134217728")
        .build();
  }

  private static final class AsItIs implements KafkaRecordDeserializationSchema<ConsumerRecord<byte[], byte[]>> {
    @Override
    public void deserialize(
        ConsumerRecord<byte[], byte[]> prospect, Collector<ConsumerRecord<byte[], byte[]>> out) {
      out.collect(prospect);
    }

    @Override
    public TypeInformation<ConsumerRecord<byte[], byte[]>> getProducedType() {
      return TypeInformation.of(new TypeHint<>() {});
    }
  }

  /** The operator, with the register in its memory. */
  private static final class Judge extends RichMapFunction<ConsumerRecord<byte[], byte[]>, ProducerRecord<byte[], byte[]>> {
    private final Routes routes;
    private final String register;
    private final boolean tuned;
    private transient Scrubbers.Step<Routes.Out> scrub;

    Judge(Routes routes, String register, boolean tuned) {
      this.routes = routes;
      this.register = register;
      this.tuned = tuned;
    }

    @Override
    public void open(OpenContext context) throws IOException {
      Register numbers = Register.read(Path.of(register));
      scrub = tuned ? new Spliced(numbers) : new Tree(numbers);
      System.out.println("ready");
    }

    @Override
    public ProducerRecord<byte[], byte[]> map(ConsumerRecord<byte[], byte[]> prospect) {
      Routes.Out out = scrub.apply(prospect.value(), prospect.partition());
      return new ProducerRecord<>(
          routes.topic(out), out.partition(), prospect.timestamp(), prospect.key(), out.value(), prospect.headers());
    }
  }
}
