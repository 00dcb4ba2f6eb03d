const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/** Bytes in base64 with padding (RFC 4648, section 4). */
export function toBase64(bytes: Uint8Array): string {
  const parts: string[] = [];
  for (let i = 0; i < bytes.length; i += 3) {
    const [a = 0, b = 0, c = 0] = [bytes[i], bytes[i + 1], bytes[i + 2]];
    const bits = (a << 16) | (b << 8) | c;
    const digit = (shift: number) => DIGITS[(bits >> shift) & 63] ?? "";
    parts.push(
      digit(18) + digit(12) + (i + 1 < bytes.length ? digit(6) : "=") + (i + 2 < bytes.length ? digit(0) : "="),
    );
  }
  return parts.join("");
}
