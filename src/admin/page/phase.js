// Where the migration stands, where it leads, and the step there and back, with its gates shown first.
const SAYS = {
  old_only: ['Old alone', 'Reads and writes go to old. pgduet passes bytes on and looks at nothing.'],
  dual_write: ['Old decides, new follows', 'Every write is committed on old and carried to new; the share of the reads that you set comes from new.'],
  new_primary: ['New decides, old follows', 'Every write is committed on new and carried back to old, so that the step back loses nothing.'],
  new_only: ['New alone', 'Old is not followed any more. The migration is over.'],
};
const COST_OF_GOING_BACK = {
  old_only: 'All reads return to old at once, and new is no longer carried: its tables become stale, and have to be made equal again before the next attempt. No connection is dropped, no row of old is touched.',
};

const showPhase = (status) => {
  const at = PHASES.indexOf(status.phase);
  fill('phases', [status.phase], () => PHASES.map((phase, n) =>
    el('li', { class: n < at ? 'done' : null, 'aria-current': n === at ? 'step' : null }, el('b', { textContent: phase }), el('small', { textContent: SAYS[phase][0] }))));
  say('phase-says', SAYS[status.phase][1]);
  fill('phase-steps', [at], () => [
    at > 0 ? button(`Back to ${PHASES[at - 1]}`, () => step(PHASES[at - 1], true)) : null,
    at < 3 ? button(`Forward to ${PHASES[at + 1]}`, () => step(PHASES[at + 1], false)) : null,
  ].filter(Boolean));
};

const step = async (phase, back) => {
  let gates;
  try {
    gates = await dryRun({ phase });
  } catch (error) {
    if (error.status === 401) return (await askForToken()) && step(phase, back);
    gates = [{ name: 'dry_run', holds: false, evidence: error.message, may_be_forced: false }];
  }
  const failed = gates.filter((gate) => !gate.holds);
  const mayForce = failed.length > 0 && failed.every((gate) => gate.may_be_forced);
  const outcome = el('div');
  const answer = await ask({
    title: `${back ? 'Back' : 'Forward'} to ${phase}?`,
    text: back && COST_OF_GOING_BACK[phase] ? COST_OF_GOING_BACK[phase] : SAYS[phase][1],
    extra: [
      el('h3', { textContent: 'A dry run says' }),
      gates.length ? gateList(gates) : el('p', { class: 'quiet', textContent: 'No gate stands in the way.' }),
      mayForce ? el('label', { class: 'box' }, el('input', { type: 'checkbox', name: 'force', required: true }), 'Override the gates that do not hold. It will be recorded with your name.') : null,
      outcome,
    ],
    confirm: `${back ? 'Go back' : 'Go'} to ${phase}`,
    kind: mayForce ? 'danger' : 'strong',
    disabled: failed.length > 0 && !mayForce,
  });
  if (!answer) return;
  await attempt($('phase-refused'), () => changePolicy({ phase, force: answer.has('force') }));
};
