// Signing in, with what that gives a person back to: the page that was asked for.
import { html, useEffect, useRef, useState } from "./vendor/htm-preact.mjs";
import { online } from "./api.js";
import { t } from "./i18n.js";
import { Brand, Language, Theme } from "./layout.js";
import { signIn } from "./session.js";
import { Button, Trouble } from "./ui.js";

// SignIn asks for a token. problem is one that came before it, of a link that was no good.
export function SignIn({ problem: before }) {
  const [token, setToken] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(before ? { ...before, message: before.detail } : null);
  const field = useRef(null);
  useEffect(() => {
    document.title = `${t("signIn.title")} · Slipstream`;
    field.current?.focus();
  }, []);
  const submit = async (event) => {
    event.preventDefault();
    const text = token.trim();
    if (!text) return field.current.focus();
    setBusy(true);
    setError(null);
    try {
      const problem = await signIn({ token: text });
      online.value = true;
      if (!problem) return undefined;
      setError({ ...problem, message: problem.detail });
    } catch (err) {
      setError({ message: err.message });
    }
    setBusy(false);
    field.current.select();
    return undefined;
  };
  return html`<div class="gate">
    <div class="gate-tools"><${Language} /><${Theme} /></div>
    <main class="gate-card">
      <${Brand} />
      <h1>${t("signIn.title")}</h1>
      <form onSubmit=${submit}>
        <label class="field"><span>${t("signIn.token")}</span>
          <input ref=${field} type="password" name="token" value=${token} onInput=${(e) => setToken(e.target.value)} autocomplete="off" spellcheck="false" aria-invalid=${error ? "true" : undefined} /></label>
        <${Trouble} error=${error} />
        <${Button} type="submit" kind="primary wide" busy=${busy}>${t("signIn.go")}<//>
      </form>
      <p class="gate-hint">${t("signIn.hint")} <code>slipstream console</code></p>
    </main>
  </div>`;
}
