// What tests/kits/test_check_clients.py asks of the kit.
import { createInterface } from "node:readline";
import { CheckClient, Unknown } from "stream-scrub-kit";

for await (const line of createInterface({ input: process.stdin })) {
  const { url, token, deadline, numbers } = JSON.parse(line);
  try {
    const client = new CheckClient(url, token, 1000 * deadline);
    const stamp = await client.check(numbers.length === 1 ? numbers[0] : numbers, { purpose: "insurance" });
    const found = stamp.callable ?? (stamp.numbers ?? [stamp]).map((each) => each.number);
    console.log(stamp.verdict === "allowed", stamp.reason, found.join(","));
  } catch (error) {
    if (!(error instanceof Unknown)) throw error;
    console.log("unknown", error.status, error.message);
  }
}
