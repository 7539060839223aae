// An invitation, or a new start after a forgotten password: sets the password, and a second factor.
import { html, useEffect, useState } from "./vendor/htm-preact.mjs";
import { t } from "./i18n.js";
import { mine, take } from "./session.js";
import { Field, useSubmit } from "./signin.js";
import { Button, Copy, Loading, Time, Trouble } from "./ui.js";

// invitationCode is the code that the address carries; it stays there until it is taken up, for people reload.
export function invitationCode() {
  return new URLSearchParams(location.hash.slice(1)).get("invitation") ?? "";
}

function clearAddress() {
  history.replaceState(null, "", location.pathname + location.search);
}

// Factor shows what an authenticator app needs.
export function Factor({ setup }) {
  return html`<div class="factor">
    <img alt=${t("factor.picture")} src=${`data:image/png;base64,${setup.qr}`} width="180" height="180" />
    <div><p>${t("factor.scan")}</p><p class="small muted">${t("factor.type")}</p><p class="digest"><code class="wrap">${setup.secret}</code><${Copy} text=${setup.secret} label=${t("action.copySecret")} /></p></div>
  </div>`;
}

// RecoveryCodes shows codes that are never shown again.
export function RecoveryCodes({ codes }) {
  return html`<p>${t("factor.codes")}</p><pre class="code codes">${codes.join("\n")}</pre><p><${Copy} text=${codes.join("\n")} label=${t("action.copyCodes")} /></p>`;
}

export function Invited({ code, onLeave }) {
  const [got, setGot] = useState({});
  const [password, setPassword] = useState("");
  const [otp, setOtp] = useState("");
  const [wanted, setWanted] = useState(false);
  const [codes, setCodes] = useState(null);
  useEffect(() => {
    mine("POST", "/invitation", { code }).then((invitation) => {
      setGot({ invitation });
      setWanted(invitation.secondFactor !== "optional");
    }, (error) => setGot({ error }));
  }, [code]);
  const { busy, error, submit } = useSubmit(async () => {
    const present = got.invitation.secondFactor === "present";
    const answer = await mine("POST", "/accept", { code, password, ...(wanted && { otp: otp.replace(/\s/g, "") }), ...(wanted && !present && { secret: got.invitation.setup.secret }) });
    clearAddress();
    if (answer.recovery?.length > 0) setCodes(answer);
    else take(answer);
    return null;
  });
  const leave = html`<p class="gate-hint"><button type="button" class="link" onClick=${() => {
    clearAddress();
    onLeave();
  }}>${t("invited.leave")}</button></p>`;
  if (got.error) return html`<${Trouble} error=${got.error} />${leave}`;
  if (!got.invitation) return html`<${Loading} />`;
  if (codes) return html`<${RecoveryCodes} codes=${codes.recovery} /><${Button} kind="primary wide" onClick=${() => take(codes)}>${t("invited.kept")}<//>`;
  const { name, display, role, expires, secondFactor, setup } = got.invitation;
  return html`<form onSubmit=${submit}>
    <p>${t("invited.as", { name: display || name, role: t(`role.${role}`) })} <span class="muted">${t("invited.until")} <${Time} at=${expires} exact /></span></p>
    <input type="hidden" name="member" autocomplete="username" value=${name} />
    <${Field} focus label=${t("invited.password")} type="password" name="password" required value=${password} onInput=${(e) => setPassword(e.target.value)} autocomplete="new-password" error=${error} hint=${t("invited.passwordHint")} />
    ${secondFactor === "optional" && html`<label class="check"><input type="checkbox" checked=${wanted} onChange=${(e) => setWanted(e.target.checked)} /> ${t("invited.second")}</label>`}
    ${wanted && secondFactor !== "present" && setup && html`<${Factor} setup=${setup} />`}
    ${wanted && html`<${Field} label=${t("signIn.otp")} name="otp" required value=${otp} onInput=${(e) => setOtp(e.target.value)} autocomplete="one-time-code" error=${error} />`}
    <${Trouble} error=${error} />
    <${Button} type="submit" kind="primary wide" busy=${busy}>${t("invited.go")}<//>
  </form>${leave}`;
}
