// What the mini-program takes of the client: built into one file, since a mini-program's own packer knows no "exports".
export { delta } from "slipstream-client/delta";
export { miniProgramHost } from "slipstream-client/miniprogram";
export { openSettings } from "slipstream-client/settings";
export { createClient } from "slipstream-client/tweetnacl";
export { session, updates } from "slipstream-client/update-manager";
