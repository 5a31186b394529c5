import type { ComponentChildren } from 'preact';
import { useEffect, useId, useRef } from 'preact/hooks';
import { X } from 'lucide';
import { Icon } from './icon';

/** The browser's own dialog: it keeps the focus inside, closes on Escape and gives the focus back. */
export function Dialog({ title, close, children }: { title: string; close: () => void; children: ComponentChildren }) {
  const element = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => element.current?.showModal(), []);
  return (
    <dialog
      ref={element}
      aria-labelledby={id}
      onClose={close}
      // A click beside it: on the dialog itself, which its content covers.
      onClick={(event) => event.target === element.current && element.current?.close()}
    >
      <div class="dialog">
        <div class="title">
          <h2 id={id}>{title}</h2>
          <button type="button" class="tool" aria-label="Close" title="Close" onClick={() => element.current?.close()}>
            <Icon of={X} />
          </button>
        </div>
        {children}
      </div>
    </dialog>
  );
}
