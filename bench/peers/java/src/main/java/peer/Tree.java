package peer;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.ObjectWriter;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.google.i18n.phonenumbers.NumberParseException;
import com.google.i18n.phonenumbers.PhoneNumberUtil;
import com.google.i18n.phonenumbers.PhoneNumberUtil.PhoneNumberFormat;
import java.io.IOException;
import java.io.UncheckedIOException;

/** The libraries do the work: Jackson's tree model and libphonenumber. A value that is no JSON object ends the application. */
record Tree(Register register) implements Scrubbers.Step<Routes.Out> {
  private static final ObjectReader READER = new ObjectMapper().readerFor(JsonNode.class);
  private static final ObjectWriter WRITER = new ObjectMapper().writer();
  private static final PhoneNumberUtil NUMBERS = PhoneNumberUtil.getInstance();

  /** A prospect with its number as "+33...", null when there is none to be read. */
  record Parsed(ObjectNode prospect, String e164, int partition) {
    /** Without a number it is blocked. */
    Routes.Out judged(boolean opposed) {
      boolean blocked = opposed || e164 == null;
      prospect
          .putObject("scrub")
          .put("verdict", blocked ? "blocked" : "allowed")
          .put("reason", e164 == null ? "invalid-number" : opposed ? "opposed" : "clear")
          .put("number", e164);
      try {
        return new Routes.Out(blocked, WRITER.writeValueAsBytes(prospect), partition);
      } catch (IOException error) {
        throw new UncheckedIOException(error);
      }
    }
  }

  static Parsed parse(byte[] value, int partition) {
    try {
      ObjectNode prospect = (ObjectNode) READER.readTree(value);
      return new Parsed(prospect, e164(prospect.path("phone").textValue()), partition);
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
  }

  private static String e164(String raw) {
    if (raw == null) {
      return null;
    }
    try {
      return NUMBERS.format(NUMBERS.parse(raw, "FR"), PhoneNumberFormat.E164);
    } catch (NumberParseException error) {
      return null;
    }
  }

  @Override
  public Routes.Out apply(byte[] value, int partition) {
    Parsed parsed = parse(value, partition);
    String e164 = parsed.e164();
    return parsed.judged(e164 != null && register.holds(Long.parseLong(e164, 1, e164.length(), 10)));
  }
}
