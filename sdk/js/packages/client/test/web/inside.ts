// What a page of a release loads to say how it goes.
import { confirm, crash, releaseOf } from "../../src/hosts/web/page.js";

const said = new URLSearchParams(location.search).get("say");
document.body.append(JSON.stringify(releaseOf() ?? "no release"));
if (said === "confirm") confirm();
if (said === "crash") crash("no cart");
