// The signed manifest of a release, read from its envelope for showing. Nothing is verified here: devices and the command
// do that.

function decode(base64) {
  const raw = atob(base64);
  const out = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
  return new TextDecoder().decode(out);
}

// manifestOf gives the manifest; a release that came in through a foreign protocol has one without signatures.
export function manifestOf(release) {
  if (release.unsigned) return { files: [], ...release.unsigned };
  return { files: [], ...JSON.parse(decode(JSON.parse(decode(release.envelope)).payload)) };
}
