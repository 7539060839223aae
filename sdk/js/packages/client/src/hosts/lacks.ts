// What a host lacks is said by name when it starts, not found out later.
import { Refusal } from "../words/reasons.js";

/** Something that the platform does not have, and what is different without it. */
export interface Lack {
  capability: string;
  effect: string;
}

/** The client cannot run here: the platform lacks something that nothing can replace. */
export class MissingCapability extends Refusal {
  override readonly name: string = "MissingCapability";
  constructor(readonly host: string, readonly capability: string, hint: string) {
    super("host_incapable", `the ${host} host`, `it lacks ${capability}: ${hint}`);
  }
}
