import type { Signal } from '@preact/signals';
import type { Identity } from '../protocol';
import type { Session } from '../session';
import { announcement, dialog, maxCalls, stage, tokenWanted } from '../state';
import { AudioDialog } from './audio';
import { Calls } from './calls';
import { Dialer } from './dialer';
import { Header } from './header';
import { HelpDialog } from './help';
import { History } from './history';
import { Notices } from './notices';
import { SignIn, TakenOver, TokenDialog } from './sign-in';

interface Props {
  session: Signal<Session | undefined>;
  signIn: (identity: Identity) => void;
  signOut: () => void;
}

export function App({ session, signIn, signOut }: Props) {
  const here = session.value;
  return (
    <>
      <Header signOut={signOut} />
      <main data-stage={stage.value}>
        <Notices />
        {stage.value === 'signed-out' && <SignIn signIn={signIn} />}
        {stage.value === 'taken-over' && <TakenOver takeBack={() => here && signIn(here.identity)} />}
        {here && (stage.value === 'signed-in' || stage.value === 'connecting') && <Desk session={here} />}
      </main>
      {/* Read out by screen readers, seen by nobody. */}
      <p class="unseen" aria-live="polite">
        {announcement.value}
      </p>
      {dialog.value === 'audio' && <AudioDialog line={here?.line} />}
      {dialog.value === 'help' && <HelpDialog />}
      {tokenWanted.value && here && <TokenDialog renew={(token) => here.renew(token)} signOut={signOut} />}
    </>
  );
}

function Desk({ session }: { session: Session }) {
  return (
    <div class="desk">
      <Dialer dial={(number) => session.actions.dial(number)} maxCalls={maxCalls.value} />
      <Calls actions={session.actions} />
      <History dial={(number) => session.actions.dial(number)} />
    </div>
  );
}
