package peer;

import java.io.Serializable;

/** The input topic, and where a verdict goes: to the topic that it names, in the partition that the prospect came from. */
record Routes(String prospects, String allowed, String blocked) implements Serializable {
  /** A judged prospect. */
  record Out(boolean blocked, byte[] value, int partition) {}

  String topic(Out out) {
    return out.blocked() ? blocked : allowed;
  }
}
