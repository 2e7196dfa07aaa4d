package peer;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;

/**
 * Everything by hand that is worth it: Jackson's streaming parser reads the whole text once, the French number is read
 * from its characters, the member is spliced into the bytes. What is not plain goes to {@link Tree}.
 */
record Spliced(Register register) implements Scrubbers.Step<Routes.Out> {
  private static final JsonFactory FACTORY = new JsonFactory();
  private static final byte[] ALLOWED = member("allowed", "clear");
  private static final byte[] BLOCKED = member("blocked", "opposed");
  private static final int DIGITS = 11; // of +33 and nine more
  private static final long FRANCE = 33_000_000_000L;
  private static final long NONE = -1;

  private static byte[] member(String verdict, String reason) {
    String text = ",\"scrub\":{\"verdict\":\"%s\",\"reason\":\"%s\",\"number\":\"+".formatted(verdict, reason);
    return text.getBytes(StandardCharsets.US_ASCII);
  }

  @Override
  public Routes.Out apply(byte[] value, int partition) {
    long number = NONE;
    int end = -1;
    try (JsonParser parser = FACTORY.createParser(value)) {
      boolean plain = parser.nextToken() == JsonToken.START_OBJECT;
      for (String name; plain && (name = parser.nextFieldName()) != null; ) {
        JsonToken token = parser.nextToken();
        if (name.equals("phone")) {
          number =
              token == JsonToken.VALUE_STRING
                  ? french(parser.getTextCharacters(), parser.getTextOffset(), parser.getTextLength())
                  : NONE;
        } else {
          plain = !name.equals("scrub"); // one that is there already is replaced
          parser.skipChildren();
        }
      }
      end = (int) parser.currentTokenLocation().getByteOffset(); // of the closing brace
      if (!plain || number == NONE || parser.nextToken() != null) {
        return new Tree(register).apply(value, partition);
      }
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
    boolean opposed = register.holds(number);
    return new Routes.Out(opposed, spliced(value, end, opposed ? BLOCKED : ALLOWED, number), partition);
  }

  private static byte[] spliced(byte[] value, int end, byte[] member, long number) {
    byte[] out = new byte[end + member.length + DIGITS + 3];
    System.arraycopy(value, 0, out, 0, end);
    System.arraycopy(member, 0, out, end, member.length);
    int at = end + member.length + DIGITS;
    out[at] = '"';
    out[at + 1] = '}';
    out[at + 2] = '}';
    for (long rest = number; rest > 0; rest /= 10) {
      out[--at] = (byte) ('0' + rest % 10);
    }
    return out;
  }

  /** 0X XX XX XX XX, with or without separators, or +33 and nine digits; NONE for any other spelling. */
  static long french(char[] text, int from, int length) {
    long digits = 0;
    int count = 0;
    boolean plus = length > 0 && text[from] == '+';
    for (int at = plus ? from + 1 : from; at < from + length; at++) {
      char c = text[at];
      if (c >= '0' && c <= '9') {
        digits = digits * 10 + (c - '0');
        if (++count > 11) {
          return NONE;
        }
      } else if (c != ' ' && c != '.' && c != '-' && c != '\u00a0') {
        return NONE;
      }
    }
    long national = plus ? digits - FRANCE : digits;
    boolean french = count == (plus ? 11 : 10) && national >= 100_000_000L && national <= 999_999_999L;
    return french ? FRANCE + national : NONE;
  }
}
