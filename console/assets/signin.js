// Signing in, with what that gives a person back to: the page that was asked for.
import { html, useEffect, useRef, useState } from "./vendor/htm-preact.mjs";
import { online } from "./api.js";
import { t } from "./i18n.js";
import { Invited, invitationCode } from "./invitation.js";
import { store, stored } from "./keep.js";
import { Brand, Language, Theme } from "./layout.js";
import { leaveForSSO, signIn, ways } from "./session.js";
import { Button, Trouble } from "./ui.js";

// Gate is the page around every form that leads in.
export function Gate({ title, children }) {
  useEffect(() => {
    document.title = `${title} · Slipstream`;
  }, [title]);
  return html`<div class="gate">
    <div class="gate-tools"><${Language} /><${Theme} /></div>
    <main class="gate-card"><${Brand} /><h1>${title}</h1>${children}</main>
  </div>`;
}

// Field is an input with its name. The value that one may type is told by onInput.
export function Field({ label, hint, error, focus, ...rest }) {
  const ref = useRef(null);
  useEffect(() => {
    if (focus) ref.current.focus();
  }, []);
  return html`<label class="field"><span>${label}</span><input ref=${ref} spellcheck="false" aria-invalid=${error ? "true" : undefined} ...${rest} />${hint && html`<small>${hint}</small>`}</label>`;
}

// useSubmit runs what a form does: {busy, error, submit}. run gives a problem document, or null.
export function useSubmit(run, before = null) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(before && { ...before, message: before.detail });
  const submit = async (event) => {
    event?.preventDefault();
    setBusy(true);
    setError(null);
    try {
      const problem = await run();
      online.value = true;
      if (problem) setError({ ...problem, message: problem.detail });
    } catch (err) {
      setError(err.status ? err : { message: err.message });
    }
    setBusy(false);
  };
  return { busy, error, submit, clear: () => setError(null) };
}

// SignIn asks who one is. problem is one that came before it, of a link that was no good.
export function SignIn({ problem }) {
  const [how, setHow] = useState(null);
  const [way, setWay] = useState(stored("way") === "token" ? "token" : "member");
  const [invited, setInvited] = useState(invitationCode());
  useEffect(() => {
    ways().then(setHow, () => setHow({}));
  }, []);
  const turn = (next) => {
    store("way", next);
    setWay(next);
  };
  if (invited) return html`<${Gate} title=${t("invited.title")}><${Invited} code=${invited} onLeave=${() => setInvited("")} /><//>`;
  return html`<${Gate} title=${t("signIn.title")}>
    ${how?.sso && html`<a class="button wide sso" href=${how.sso.path} onClick=${leaveForSSO}>${t("signIn.sso", { name: how.sso.name })}</a><div class="or">${t("signIn.or")}</div>`}
    ${way === "token" ? html`<${Token} problem=${problem} />` : html`<${Password} problem=${problem} />`}
    <p class="gate-hint"><button type="button" class="link" data-way=${way === "token" ? "member" : "token"} onClick=${() => turn(way === "token" ? "member" : "token")}>${way === "token" ? t("signIn.byPassword") : t("signIn.byToken")}</button></p>
    <p class="gate-hint">${t("signIn.hint")} <code>slipstream console</code></p>
  <//>`;
}

function Token({ problem }) {
  const [token, setToken] = useState("");
  const { busy, error, submit } = useSubmit(() => signIn({ token: token.trim() }), problem);
  return html`<form onSubmit=${submit}>
    <${Field} focus label=${t("signIn.token")} type="password" name="token" required value=${token} onInput=${(e) => setToken(e.target.value)} autocomplete="off" error=${error} />
    <${Trouble} error=${error} />
    <${Button} type="submit" kind="primary wide" busy=${busy}>${t("signIn.go")}<//>
  </form>`;
}

function Password({ problem }) {
  const [member, setMember] = useState("");
  const [password, setPassword] = useState("");
  const [otp, setOtp] = useState("");
  const [second, setSecond] = useState(false);
  const { busy, error, submit, clear } = useSubmit(async () => {
    const failed = await signIn({ member: member.trim(), password, ...(second && { otp: otp.replace(/\s/g, "") }) });
    if (failed?.code !== "second_factor_needed") return failed;
    setSecond(true);
    return null;
  }, problem);
  if (second) {
    return html`<form onSubmit=${submit}>
      <p class="muted">${t("signIn.second")}</p>
      <${Field} focus label=${t("signIn.otp")} name="otp" required value=${otp} onInput=${(e) => setOtp(e.target.value)} autocomplete="one-time-code" inputmode="text" error=${error} />
      <${Trouble} error=${error} />
      <${Button} type="submit" kind="primary wide" busy=${busy}>${t("signIn.go")}<//>
      <p><button type="button" class="link" onClick=${() => {
        setSecond(false);
        setOtp("");
        clear();
      }}>${t("action.back")}</button></p>
    </form>`;
  }
  return html`<form onSubmit=${submit}>
    <${Field} focus label=${t("signIn.member")} name="member" required value=${member} onInput=${(e) => setMember(e.target.value)} autocomplete="username" autocapitalize="none" error=${error} />
    <${Field} label=${t("signIn.password")} type="password" name="password" required value=${password} onInput=${(e) => setPassword(e.target.value)} autocomplete="current-password" error=${error} />
    <${Trouble} error=${error} />
    <${Button} type="submit" kind="primary wide" busy=${busy}>${t("signIn.go")}<//>
  </form>`;
}
