// Changing something: the dialog, the gates that it shows, and what is said where a change is refused.
const dialog = $('dialog');

/** Shows a form and answers with its data, or null where it was left. `extra` nodes stand above the buttons. */
const ask = ({ title, text, extra = [], confirm, kind = 'strong', disabled = false }) => new Promise((resolve) => {
  const form = el('form', { method: 'dialog' },
    text ? el('p', { textContent: text }) : null,
    extra,
    el('div', { class: 'row' }, button('Leave it', () => dialog.close()), el('button', { type: 'submit', value: 'go', class: kind, textContent: confirm, disabled })));
  dialog.replaceChildren(el('h2', { id: 'dialog-title', textContent: title }), form);
  dialog.returnValue = '';
  dialog.onclose = () => resolve(dialog.returnValue === 'go' ? new FormData(form) : null);
  dialog.showModal();
});

const gateList = (gates) => el('ul', { class: 'checks' }, gates.map((gate) =>
  el('li', { class: gate.holds ? '' : 'bad' }, el('span', {}, `${gate.name.replaceAll('_', ' ')}${gate.holds ? '' : ' does not hold'}`, el('small', { textContent: evidence(gate.evidence) })))));

/** Runs a change; a refusal is shown in `place`, with a way to override the gates where that is allowed. */
const attempt = async (place, change, again) => {
  place.replaceChildren();
  try {
    await change();
    await refresh();
    return true;
  } catch (error) {
    if (error.status === 401) return (await askForToken()) ? attempt(place, change, again) : false;
    const gates = error.gates ?? [];
    const failed = gates.filter((gate) => !gate.holds);
    const mayForce = again && failed.length && failed.every((gate) => gate.may_be_forced);
    place.replaceChildren(el('div', { class: 'refused', role: 'alert' },
      el('strong', { textContent: gates.length ? 'Refused: a gate does not hold' : 'It was not done' }),
      gates.length ? gateList(gates) : el('p', { textContent: error.message }),
      el('div', { class: 'row' }, mayForce ? button('Override, on the record', () => attempt(place, again), 'danger') : null, button('Close', () => place.replaceChildren()))));
    return false;
  }
};

const askForToken = async () => {
  const field = el('input', { type: 'password', name: 'token', required: true, autocomplete: 'off' });
  const answer = await ask({ title: 'A token is asked for', text: 'This port answers only to whoever has the token of admin.token_file. It is kept in this tab until you close it.', extra: [el('label', {}, 'Token', field)], confirm: 'Go on' });
  if (!answer) return false;
  session.token = answer.get('token').trim();
  sessionStorage.setItem('pgduet-token', session.token);
  return true;
};

const askForName = async () => {
  const field = el('input', { type: 'text', name: 'who', value: session.who, maxLength: 60, autocomplete: 'name' });
  const answer = await ask({ title: 'Who are you?', text: 'Your changes are recorded under this name.', extra: [el('label', {}, 'Name', field)], confirm: 'Keep' });
  if (!answer) return;
  session.who = answer.get('who').trim();
  localStorage.setItem('pgduet-who', session.who);
  showTools();
};
