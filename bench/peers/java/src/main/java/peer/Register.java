package peer;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import org.roaringbitmap.longlong.Roaring64NavigableMap;

/** The opposed numbers, in memory. */
record Register(Roaring64NavigableMap numbers) {
  /** From a file of sorted little-endian u64. */
  static Register read(Path file) throws IOException {
    Roaring64NavigableMap numbers = new Roaring64NavigableMap();
    ByteBuffer buffer = ByteBuffer.allocateDirect(1 << 20).order(ByteOrder.LITTLE_ENDIAN);
    try (FileChannel in = FileChannel.open(file)) {
      while (in.read(buffer) >= 0) {
        buffer.flip();
        while (buffer.remaining() >= Long.BYTES) {
          numbers.addLong(buffer.getLong());
        }
        buffer.compact();
      }
    }
    numbers.runOptimize();
    return new Register(numbers);
  }

  boolean holds(long number) {
    return numbers.contains(number);
  }
}
