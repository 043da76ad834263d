import { signal, useSignal } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { type Refusal, refusalOf } from '../api.ts';
import { t } from '../i18n/index.ts';
import { Icon } from './icons.tsx';
import { copyText, RefusalNote } from './kit.tsx';

// One dialog and one row of notices for all screens, called as functions.

export type Field = {
  name: string;
  label: string;
  type?: 'text' | 'email' | 'url' | 'number' | 'datetime-local' | 'date' | 'textarea' | 'select' | 'checks' | 'file';
  value?: string | string[];
  note?: string;
  required?: boolean;
  step?: string;
  min?: string;
  max?: string;
  accept?: string;
  maxLength?: number;
  options?: { value: string; label: string; note?: string }[];
};

type Question = {
  title: string;
  body?: ComponentChildren;
  fields?: Field[];
  confirm: string;
  isBad?: boolean;
  /** Does it; what it throws is shown in the dialog, which stays open. */
  submit: (values: FormData) => Promise<unknown>;
};

type Shown = { kind: 'question'; question: Question } | { kind: 'secret'; secret: Secret };

type Secret = { title: string; body: ComponentChildren; label: string; secret: string; extra?: ComponentChildren };

const shown = signal<Shown | undefined>(undefined);

export function askFor(question: Question): void {
  shown.value = { kind: 'question', question };
}

/** Something that is answered once, to copy before it is gone. */
export function showSecret(secret: Secret): void {
  shown.value = { kind: 'secret', secret };
}

export function DialogHost() {
  const dialog = useRef<HTMLDialogElement>(null);
  const current = shown.value;
  useEffect(() => {
    if (current && !dialog.current?.open) {
      dialog.current?.showModal();
      // Enter does what was asked for, unless it destroys something: then "Cancel" has the keyboard.
      dialog.current?.querySelector<HTMLElement>('input:not([readonly]), textarea, [data-first="true"]')?.focus();
    }
    if (!current && dialog.current?.open) dialog.current.close();
  }, [current]);
  const close = () => {
    shown.value = undefined;
  };
  return (
    <dialog ref={dialog} onClose={close} aria-labelledby="dialog-title">
      {current?.kind === 'question' && <Asking key={current.question} question={current.question} close={close} />}
      {current?.kind === 'secret' && <Showing secret={current.secret} close={close} />}
    </dialog>
  );
}

function Asking({ question, close }: { question: Question; close: () => void }) {
  const isBusy = useSignal(false);
  const refusal = useSignal<Refusal | undefined>(undefined);
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    isBusy.value = true;
    refusal.value = undefined;
    try {
      await question.submit(new FormData(event.target as HTMLFormElement));
      // An act may have opened the next dialog.
      if (shown.peek()?.kind === 'question' && (shown.peek() as { question: Question }).question === question) close();
    } catch (error) {
      refusal.value = refusalOf(error);
    } finally {
      isBusy.value = false;
    }
  };
  return (
    <form onSubmit={(event) => void submit(event)}>
      <h2 id="dialog-title">{question.title}</h2>
      {question.body && <div class="prose">{question.body}</div>}
      {question.fields?.map((field) => (
        <FieldView key={field.name} field={field} />
      ))}
      {refusal.value && <RefusalNote refusal={refusal.value} />}
      <footer>
        <button type="button" class="button" onClick={close}>
          {t().cancel}
        </button>
        <button
          type="submit"
          class={`button ${question.isBad ? 'danger' : 'primary'}`}
          disabled={isBusy.value}
          data-first={!question.isBad && !question.fields}
        >
          {isBusy.value ? t().working : question.confirm}
        </button>
      </footer>
    </form>
  );
}

export function FieldView({ field }: { field: Field }) {
  const { name, label, note, options = [], type = 'text', required, value } = field;
  const common = { name, id: `field-${name}`, required, 'aria-describedby': note ? `note-${name}` : undefined };
  const text = typeof value === 'string' ? value : undefined;
  if (type === 'checks') {
    return (
      <fieldset class="field checks">
        <legend>{label}</legend>
        {options.map((option) => (
          <label key={option.value}>
            <input type="checkbox" name={name} value={option.value} defaultChecked={value?.includes(option.value)} />
            <span>
              {option.label}
              {option.note && <small>{option.note}</small>}
            </span>
          </label>
        ))}
      </fieldset>
    );
  }
  return (
    <label class="field" for={common.id}>
      <span>{label}</span>
      {type === 'textarea' ? (
        <textarea {...common} rows={3} maxLength={field.maxLength ?? 500} defaultValue={text} />
      ) : type === 'select' ? (
        <select {...common} defaultValue={text}>
          {options.map((option) => (
            <option key={option.value} value={option.value} selected={option.value === text}>
              {option.label}
            </option>
          ))}
        </select>
      ) : (
        <input
          {...common}
          // One kind of input for Preact's types, which describe each kind apart.
          type={type as 'text'}
          {...(type === 'file' ? {} : { defaultValue: text })}
          step={field.step}
          min={field.min}
          max={field.max}
          accept={field.accept}
          maxLength={field.maxLength}
          autocomplete="off"
        />
      )}
      {note && <small id={`note-${name}`}>{note}</small>}
    </label>
  );
}

function Showing({ secret, close }: { secret: Secret; close: () => void }) {
  return (
    <div class="form">
      <h2 id="dialog-title">{secret.title}</h2>
      <div class="prose">{secret.body}</div>
      {secret.extra}
      <CopyField label={secret.label} text={secret.secret} />
      <footer>
        <button type="button" class="button primary" onClick={close}>
          {t().done}
        </button>
      </footer>
    </div>
  );
}

export function CopyField({ label, text }: { label: string; text: string }) {
  const isCopied = useSignal(false);
  const field = useRef<HTMLInputElement>(null);
  return (
    <div class="copy">
      <label class="field">
        <span>{label}</span>
        <input ref={field} readOnly value={text} onFocus={(event) => event.currentTarget.select()} />
      </label>
      <button
        type="button"
        class="button"
        onClick={async () => {
          field.current?.select();
          isCopied.value = await copyText(text);
        }}
      >
        <Icon name={isCopied.value ? 'check' : 'copy'} size={16} />
        {isCopied.value ? t().copied : t().copy}
      </button>
    </div>
  );
}

type Notice = { id: number; text: string; refusal?: Refusal; undo?: () => Promise<unknown> };
const notices = signal<Notice[]>([]);
let nextNotice = 1;

export function notify(text: string, undo?: () => Promise<unknown>): void {
  show({ text, ...(undo ? { undo } : {}) }, undo ? 10_000 : 4000);
}

function show(notice: Omit<Notice, 'id'>, ms: number): void {
  const id = nextNotice++;
  notices.value = [...notices.value.slice(-2), { ...notice, id }];
  setTimeout(() => dismiss(id), ms);
}

function dismiss(id: number): void {
  notices.value = notices.value.filter((notice) => notice.id !== id);
}

/** Does something that needs no dialog; its refusal is a notice. */
export async function act(done: string, work: () => Promise<unknown>, undo?: () => Promise<unknown>): Promise<boolean> {
  try {
    await work();
    notify(done, undo);
    return true;
  } catch (error) {
    const refusal = refusalOf(error);
    show({ text: '', refusal }, 9000);
    return false;
  }
}

export function NoticeHost() {
  return (
    <div class="notices" role="status" aria-live="polite">
      {notices.value.map(({ id, text, refusal, undo }) => (
        <div key={id} class={`notice ${refusal ? 'bad' : ''}`}>
          <Icon name={refusal ? 'warn' : 'check'} size={18} />
          <span>
            {refusal ? (refusal.code === 'offline' ? t().offlineTitle : refusal.message) : text}
            {refusal?.hint && <small>{refusal.hint}</small>}
          </span>
          {undo && (
            <button
              type="button"
              onClick={() => {
                dismiss(id);
                void act(t().undone, undo);
              }}
            >
              {t().undo}
            </button>
          )}
          <button type="button" class="icon-button" aria-label={t().close} onClick={() => dismiss(id)}>
            <Icon name="close" size={14} />
          </button>
        </div>
      ))}
    </div>
  );
}
