package peer;

import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;

/** What a command line says: flags, and BOOTSTRAP PROSPECTS ALLOWED BLOCKED GROUP REGISTER. */
record Given(String bootstrap, Routes routes, String group, String register, Map<String, String> flags) {
  static Given of(String[] args) {
    Map<String, String> flags = new HashMap<>();
    for (String each : args) {
      if (each.startsWith("--")) {
        String[] parts = each.substring(2).split("=", 2);
        flags.put(parts[0], parts.length == 2 ? parts[1] : "");
      }
    }
    String[] g = Arrays.stream(args).filter(each -> !each.startsWith("--")).toArray(String[]::new);
    return new Given(g[0], new Routes(g[1], g[2], g[3]), g[4], g[5], flags);
  }
}
