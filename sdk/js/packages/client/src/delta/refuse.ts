import { Refusal } from "../words/reasons.js";

/** Refuses a container. */
export function invalid(detail: string, cause?: unknown): Refusal {
  return new Refusal("container_invalid", "container", detail, cause);
}
