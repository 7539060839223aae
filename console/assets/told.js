// told counts the devices of a rollout by what they reported. Those that left for what the release is not to blame for, as
// for a newer one, stand under left, and not among those that went back or failed.
export function told({ devices, left }) {
  const out = { ...devices, left: 0 };
  for (const [kind, n] of Object.entries(left ?? {})) {
    out[kind] = Math.max(0, (out[kind] ?? 0) - n);
    out.left += n;
  }
  return out;
}
