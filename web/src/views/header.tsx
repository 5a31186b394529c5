import { CircleAlert, CircleCheck, Headphones, Keyboard, LoaderCircle, LogOut, Mic, Moon, Server as ServerIcon, Sun, Volume2, type IconNode } from 'lucide';
import { agent, dialog, microphone, server, sound, stage, talkingCall, type Microphone, type Server, type Sound } from '../state';
import { theme, toggleTheme } from '../theme';
import { Icon } from './icon';

type Light = 'on' | 'wait' | 'off';

const SERVER: Record<Server, [Light, string]> = {
  off: ['off', 'not connected'],
  connecting: ['wait', 'connecting'],
  connected: ['on', 'connected'],
  lost: ['wait', 'reconnecting'],
};

const MICROPHONE: Record<Microphone, [Light, string]> = {
  off: ['wait', 'off'],
  asking: ['wait', 'waiting'],
  on: ['on', 'on'],
  silent: ['off', 'switched off'],
  unusable: ['off', 'not available'],
};

const SOUND: Record<Sound, [Light, string]> = {
  off: ['wait', 'off'],
  connecting: ['wait', 'connecting'],
  connected: ['on', 'connected'],
  interrupted: ['wait', 'interrupted'],
  failed: ['off', 'blocked'],
};

export function Header({ signOut }: { signOut: () => void }) {
  const isIn = stage.value === 'signed-in' || stage.value === 'connecting';
  const { agentId, tenantId } = agent.value;
  const other = theme.value === 'dark' ? 'light' : 'dark';
  return (
    <header>
      <h1>NexusDialer</h1>
      {isIn && <Connection />}
      <div class="tools">
        {isIn && agentId && (
          <span class="who" title={`Agent ${agentId} of ${tenantId}`}>
            {agentId}
            <small>{tenantId}</small>
          </span>
        )}
        <Tool icon={Headphones} label="Audio settings" run={() => (dialog.value = 'audio')} />
        <Tool icon={Keyboard} label="Keyboard help" run={() => (dialog.value = 'help')} />
        <Tool icon={theme.value === 'dark' ? Sun : Moon} label={`Use the ${other} theme`} run={toggleTheme} />
        {isIn && <Tool icon={LogOut} label="Sign out" run={signOut} />}
      </div>
    </header>
  );
}

function Tool({ icon, label, run }: { icon: IconNode; label: string; run: () => void }) {
  return (
    <button type="button" class="tool" aria-label={label} title={label} onClick={run}>
      <Icon of={icon} />
    </button>
  );
}

function Connection() {
  const muted = talkingCall.value?.muted && microphone.value === 'on';
  return (
    <div class="connection" role="status" aria-label="Connection">
      <Part icon={ServerIcon} label="Server" is={SERVER[server.value]} />
      <Part icon={Mic} label="Microphone" is={muted ? ['wait', 'muted'] : MICROPHONE[microphone.value]} />
      <Part icon={Volume2} label="Audio" is={SOUND[sound.value]} />
    </div>
  );
}

const LIGHTS: Record<Light, IconNode> = { on: CircleCheck, wait: LoaderCircle, off: CircleAlert };

function Part({ icon, label, is: [light, words] }: { icon: IconNode; label: string; is: [Light, string] }) {
  return (
    <p data-light={light}>
      <Icon of={icon} />
      <span>
        <b>{label}</b> <span class="words">{words}</span>
      </span>
      <Icon of={LIGHTS[light]} />
    </p>
  );
}
