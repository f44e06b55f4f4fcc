// Check the signature of what an HTTP sink sends. Node's own modules only.
import { createHmac, timingSafeEqual } from "node:crypto";

/** Whether the request is from the relay and young. `headers` as Node gives them, `body` a Buffer as it came. */
export function isGenuine(secret, headers, body, { tolerance = 300, now = Date.now() / 1000 } = {}) {
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  const { "webhook-id": id = "", "webhook-timestamp": timestamp = "", "webhook-signature": given = "" } = headers;
  if (!/^\d+$/.test(timestamp) || Math.abs(now - Number(timestamp)) > tolerance) return false;
  const expected = createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body).digest();
  return given.split(" ").some((each) => { // several while a secret is rotated
    const [version, text = ""] = each.split(",");
    const found = Buffer.from(text, "base64");
    return version === "v1" && found.length === expected.length && timingSafeEqual(found, expected);
  });
}
