import { useState } from 'preact/hooks';
import { LogIn, MonitorSmartphone } from 'lucide';
import { DEV_AGENT, DEV_TENANT } from '../identity';
import type { Identity } from '../protocol';
import { devSignIn, signInTrouble, tokenWanted } from '../state';
import { ofError, type Words } from '../words';
import { Dialog } from './dialog';
import { Icon } from './icon';

export function SignIn({ signIn }: { signIn: (identity: Identity) => void }) {
  const isDev = devSignIn.value;
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    const data = new FormData(event.currentTarget as HTMLFormElement);
    const text = (name: string) => String(data.get(name) ?? '').trim();
    signIn({ agentId: text('agentId'), tenantId: text('tenantId'), token: text('token') });
  };
  return (
    <form class="card sign-in" aria-labelledby="sign-in-title" onSubmit={submit}>
      <h2 id="sign-in-title">Sign in</h2>
      {signInTrouble.value && <Trouble words={signInTrouble.value} />}
      {isDev && (
        <>
          <Field name="agentId" label="Agent" value={DEV_AGENT} isRequired />
          <Field name="tenantId" label="Tenant" value={DEV_TENANT} isRequired />
        </>
      )}
      <Field name="token" label="Token" isSecret isRequired={!isDev} hint={isDev ? 'Not needed on this machine.' : 'Paste the token that you were given. It says who you are.'} />
      <button type="submit" class="go wide">
        <Icon of={LogIn} />
        Sign in
      </button>
    </form>
  );
}

interface FieldProps {
  name: string;
  label: string;
  value?: string;
  hint?: string;
  isSecret?: boolean;
  isRequired?: boolean;
}

const SECRET = { type: 'password' } as const;

function Field({ name, label, value = '', hint, isSecret = false, isRequired = false }: FieldProps) {
  return (
    <label>
      {label}
      <input name={name} {...(isSecret ? SECRET : {})} autocomplete="off" spellcheck={false} defaultValue={value} required={isRequired} />
      {hint && <small>{hint}</small>}
    </label>
  );
}

function Trouble({ words }: { words: Words }) {
  return (
    <p class="trouble" role="alert">
      <b>{words.text}</b> {words.advice}
    </p>
  );
}

/** The same agent signed in elsewhere. */
export function TakenOver({ takeBack }: { takeBack: () => void }) {
  return (
    <div class="card taken-over" role="alert">
      <span class="badge">
        <Icon of={MonitorSmartphone} />
      </span>
      <h2>You signed in somewhere else</h2>
      <p>This page is disconnected, and your calls are where you signed in last.</p>
      <button type="button" class="go" onClick={takeBack}>
        Use this page instead
      </button>
    </div>
  );
}

/** Asks for a newer token while everything goes on. */
export function TokenDialog({ renew, signOut }: { renew: (token: string) => Promise<void>; signOut: () => void }) {
  const [trouble, setTrouble] = useState<Words>();
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    const token = String(new FormData(event.currentTarget as HTMLFormElement).get('token') ?? '').trim();
    renew(token).catch((error: unknown) => setTrouble(ofError(error)));
  };
  return (
    <Dialog title="Your sign-in has to be renewed" close={() => (tokenWanted.value = false)}>
      <form class="sign-in" onSubmit={submit}>
        <p>Your calls go on meanwhile.</p>
        {trouble && <Trouble words={trouble} />}
        <Field name="token" label="New token" isSecret isRequired />
        <button type="submit" class="go wide">
          Stay signed in
        </button>
        <button type="button" onClick={signOut}>
          Sign out
        </button>
      </form>
    </Dialog>
  );
}
