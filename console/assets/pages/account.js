// One's own account: password, second factor, browsers that are signed in, personal tokens.
import { t } from "../i18n.js";
import { everywhere, me, mine, signOut, take } from "../session.js";
import { Field, useSubmit } from "../signin.js";
import { Factor, RecoveryCodes } from "../invitation.js";
import { Badge, Button, Card, Confirm, Copy, Dialog, Empty, Facts, Loading, Page, Table, Time, Trouble, html } from "../ui.js";
import { useEffect, useState } from "../vendor/htm-preact.mjs";

export function Account() {
  const [got, setGot] = useState({});
  const again = () => mine("GET", "/account").then((account) => setGot({ account }), (error) => setGot({ error }));
  useEffect(() => {
    if (me.value.member) again();
  }, []);
  return html`<${Page} title=${t("nav.account")} sub=${html`<span>${me.value.name}</span><span>${t(`role.${me.value.role}`)}</span><span>${everywhere() ? t("account.allApps") : me.value.apps.join(", ")}</span>`}>
    ${!me.value.member ? html`<${Card}><${Empty} title=${t("account.token")}>${t("account.tokenHint")}<//><//>`
      : got.error ? html`<${Trouble} error=${got.error} again=${again} />`
      : !got.account ? html`<${Loading} />`
      : html`<${Mine} account=${got.account} again=${again} />`}
  <//>`;
}

function Mine({ account: a, again }) {
  const [open, setOpen] = useState("");
  const close = () => setOpen("");
  const changed = () => {
    close();
    again();
  };
  const dialogs = { password: PasswordDialog, factor: FactorDialog, recovery: RecoveryDialog, remove: RemoveDialog, token: TokenDialog };
  const Shown = dialogs[open];
  return html`${me.value.lacks && html`<${Card}><p class="late">${t("account.lacks")}</p><//>`}
    <${Card} title=${t("account.signIn")}><${Facts} rows=${[
      [t("signIn.password"), html`<span class="stack"><span>${a.password ? t("account.set") : t("account.none")}</span><span><${Button} onClick=${() => setOpen("password")}>${t("account.changePassword")}<//></span></span>`],
      [t("account.factor"), html`<span class="stack"><span>${a.secondFactor ? html`<${Badge} tone="ok">${t("account.on")}<//> ${t("account.codesLeft", { n: a.recovery })}` : html`<${Badge} tone="warn">${t("account.off")}<//>`}</span>
        <span class="actions"><${Button} onClick=${() => setOpen("factor")}>${a.secondFactor ? t("account.otherPhone") : t("account.setUp")}<//>
          ${a.secondFactor && html`<${Button} onClick=${() => setOpen("recovery")}>${t("account.newCodes")}<//>`}
          ${a.secondFactor && !a.requireOTP && html`<${Button} kind="danger" onClick=${() => setOpen("remove")}>${t("account.takeAway")}<//>`}</span></span>`],
      [t("account.email"), a.email],
    ]} /><//>
    <${Browsers} account=${a} again=${again} />
    <${Tokens} account=${a} again=${again} add=${() => setOpen("token")} />
    ${Shown && html`<${Shown} account=${a} onClose=${close} onDone=${changed} />`}`;
}

function Browsers({ account: a, again }) {
  const [asking, setAsking] = useState(null);
  return html`<${Card} title=${t("account.browsers")} flush actions=${html`<${Button} kind="danger" onClick=${() => setAsking("all")}>${t("account.signOutAll")}<//>`}>
    <${Table} label=${t("account.browsers")} rows=${a.sessions} rowKey=${(s) => s.id} columns=${[
      { key: "agent", head: t("account.browser"), grow: true, cell: (s) => html`<span class="wrap">${s.agent || "–"}</span> ${s.current && html`<${Badge} tone="info">${t("account.thisOne")}<//>`}` },
      { key: "seen", head: t("account.seen"), cell: (s) => html`<${Time} at=${s.seen} />` },
      { key: "since", head: t("account.since"), hide: "small", cell: (s) => html`<${Time} at=${s.created} />` },
      { key: "out", head: "", cell: (s) => !s.current && html`<${Button} kind="small" onClick=${() => setAsking(s)}>${t("nav.signOut")}<//>` },
    ]} />
    ${asking && html`<${Confirm} title=${asking === "all" ? t("account.signOutAll") : t("nav.signOut")} verb=${t("nav.signOut")}
      effect=${asking === "all" ? t("account.signOutAllEffect", { n: a.sessions.length }) : t("account.signOutEffect")}
      run=${async () => {
        await mine("DELETE", asking === "all" ? "/all" : `/all/${encodeURIComponent(asking.id)}`);
        if (asking === "all") await signOut();
      }} onClose=${(done) => {
        setAsking(null);
        if (done && asking !== "all") again();
      }} />`}
  <//>`;
}

function Tokens({ account: a, again, add }) {
  const [asking, setAsking] = useState(null);
  return html`<${Card} title=${t("account.tokens")} flush actions=${html`<${Button} onClick=${add}>${t("account.newToken")}<//>`}>
    ${a.tokens.length === 0 ? html`<p class="patches-none muted">${t("account.noTokens")}</p>` : html`<${Table} label=${t("account.tokens")} rows=${a.tokens} rowKey=${(k) => k.id} columns=${[
      { key: "name", head: t("account.tokenName"), grow: true, cell: (k) => html`<span class="cell-main">${k.name}</span><span class="cell-sub">${t(`role.${k.role}`)}${k.app ? ` · ${k.app}` : ""}</span>` },
      { key: "used", head: t("account.used"), cell: (k) => (k.lastUsed ? html`<${Time} at=${k.lastUsed} />` : "–") },
      { key: "expires", head: t("account.expires"), hide: "small", cell: (k) => (k.expires ? html`<${Time} at=${k.expires} />` : t("account.never")) },
      { key: "revoke", head: "", cell: (k) => html`<${Button} kind="small danger" onClick=${() => setAsking(k)}>${t("account.revoke")}<//>` },
    ]} />`}
    ${asking && html`<${Confirm} title=${t("account.revokeTitle", { name: asking.name })} effect=${t("account.revokeEffect")} verb=${t("account.revoke")}
      run=${() => mine("DELETE", `/tokens/${encodeURIComponent(asking.id)}`)} onClose=${(done) => {
        setAsking(null);
        if (done) again();
      }} />`}
  <//>`;
}

// useProof asks again for what shows that it is the member who sits there.
function useProof(a, focus = true) {
  const [password, setPassword] = useState("");
  const [otp, setOtp] = useState("");
  const fields = html`${a.password && html`<${Field} focus=${focus} label=${t("account.currentPassword")} type="password" required value=${password} onInput=${(e) => setPassword(e.target.value)} autocomplete="current-password" />`}
    ${a.secondFactor && html`<${Field} label=${t("account.currentCode")} required value=${otp} onInput=${(e) => setOtp(e.target.value)} autocomplete="one-time-code" />`}`;
  return { fields, proof: { ...(a.password && { password }), ...(a.secondFactor && { otp: otp.replace(/\s/g, "") }) } };
}

function Form({ title, onClose, form, verb, children, danger }) {
  return html`<${Dialog} title=${title} onClose=${onClose}><form class="stack-form" onSubmit=${form.submit}>${children}<${Trouble} error=${form.error} />
    <div class="actions"><${Button} type="submit" kind=${danger ? "danger" : "primary"} busy=${form.busy}>${verb}<//><${Button} onClick=${onClose}>${t("action.cancel")}<//></div></form><//>`;
}

function PasswordDialog({ account, onClose, onDone }) {
  const { fields, proof } = useProof(account);
  const [next, setNext] = useState("");
  const form = useSubmit(async () => {
    await mine("POST", "/password", { ...proof, new: next });
    onDone();
  });
  return html`<${Form} title=${t("account.changePassword")} onClose=${onClose} form=${form} verb=${t("account.changePassword")}>${fields}
    <${Field} label=${t("invited.password")} type="password" required value=${next} onInput=${(e) => setNext(e.target.value)} autocomplete="new-password" hint=${t("invited.passwordHint")} />
    <p class="small muted">${t("account.othersEnd")}</p><//>`;
}

function Codes({ title, codes, onDone }) {
  return html`<${Dialog} title=${title} onClose=${onDone} footer=${html`<${Button} kind="primary" onClick=${onDone}>${t("invited.kept")}<//>`}><${RecoveryCodes} codes=${codes} /><//>`;
}

function FactorDialog({ account, onClose, onDone }) {
  const { fields, proof } = useProof(account);
  const [setup, setSetup] = useState(null);
  const [failed, setFailed] = useState(null);
  const [first, setFirst] = useState("");
  const [codes, setCodes] = useState(null);
  useEffect(() => {
    mine("POST", "/second-factor/new").then(setSetup, setFailed);
  }, []);
  const form = useSubmit(async () => {
    const { recovery } = await mine("POST", "/second-factor", { ...proof, secret: setup.secret, first: first.replace(/\s/g, "") });
    setCodes(recovery);
  });
  const done = async () => {
    take(await mine("GET", ""));
    onDone();
  };
  if (codes) return html`<${Codes} title=${t("account.factor")} codes=${codes} onDone=${done} />`;
  return html`<${Form} title=${t("account.factor")} onClose=${onClose} form=${form} verb=${t("account.setUp")}>${fields}<${Trouble} error=${failed} />
    ${setup && html`<${Factor} setup=${setup} />`}<${Field} label=${t("account.firstCode")} name="first" required value=${first} onInput=${(e) => setFirst(e.target.value)} autocomplete="one-time-code" /><//>`;
}

function RecoveryDialog({ account, onClose, onDone }) {
  const { fields, proof } = useProof(account);
  const [codes, setCodes] = useState(null);
  const form = useSubmit(async () => setCodes((await mine("POST", "/recovery", proof)).recovery));
  if (codes) return html`<${Codes} title=${t("account.newCodes")} codes=${codes} onDone=${onDone} />`;
  return html`<${Form} title=${t("account.newCodes")} onClose=${onClose} form=${form} verb=${t("account.newCodes")}><p>${t("account.newCodesEffect")}</p>${fields}<//>`;
}

function RemoveDialog({ account, onClose, onDone }) {
  const { fields, proof } = useProof(account);
  const form = useSubmit(async () => {
    await mine("POST", "/second-factor/remove", proof);
    onDone();
  });
  return html`<${Form} title=${t("account.takeAway")} onClose=${onClose} form=${form} verb=${t("account.takeAway")} danger><p>${t("account.takeAwayEffect")}</p>${fields}<//>`;
}

function TokenDialog({ account, onClose, onDone }) {
  const roles = ["viewer", "operator", "publisher", "owner"];
  const allowed = roles.slice(0, roles.indexOf(account.role) + 1);
  const { fields, proof } = useProof(account, false);
  const [name, setName] = useState("");
  const [role, setRole] = useState(account.role);
  const [days, setDays] = useState("90");
  const [made, setMade] = useState(null);
  const form = useSubmit(async () => setMade(await mine("POST", "/tokens", { ...proof, name, role, ...(days && { expires: new Date(Date.now() + days * 86_400_000).toISOString() }) })));
  if (made) {
    return html`<${Dialog} title=${t("account.newToken")} onClose=${onDone} footer=${html`<${Button} kind="primary" onClick=${onDone}>${t("invited.kept")}<//>`}>
      <p>${t("account.tokenOnce")}</p><p class="digest"><code class="wrap secret">${made.secret}</code><${Copy} text=${made.secret} label=${t("action.copySecret")} /></p><//>`;
  }
  return html`<${Form} title=${t("account.newToken")} onClose=${onClose} form=${form} verb=${t("account.makeToken")}>
    <${Field} focus label=${t("account.tokenName")} name="name" required pattern="[a-z0-9][a-z0-9._\\-]*" value=${name} onInput=${(e) => setName(e.target.value)} autocomplete="off" hint=${t("account.tokenNameHint")} />
    <label class="field"><span>${t("account.role")}</span><select value=${role} onChange=${(e) => setRole(e.target.value)}>${allowed.map((r) => html`<option key=${r} value=${r} selected=${r === role}>${t(`role.${r}`)}</option>`)}</select></label>
    <label class="field"><span>${t("account.expires")}</span><select value=${days} onChange=${(e) => setDays(e.target.value)}>${["30", "90", "365", ""].map((d) => html`<option key=${d} value=${d} selected=${d === days}>${d ? t("account.days", { n: Number(d) }) : t("account.never")}</option>`)}</select></label>${fields}<//>`;
}
