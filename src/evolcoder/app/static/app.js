// The page of the app. The server makes every part from the address; this file fetches such pages and puts
// their content in place, so that the browser never draws anew, and does what a plain page cannot: keys,
// answers as they are written, a live view.

const PATIENCE_MS = 150; // a page that comes sooner shows no sign of loading
const main = () => document.getElementById('main');
const at = selector => document.querySelector(selector);
let shownAt = performance.now();
let newest = 0;
let state = ''; // of the run that is looked at: another one, another page

// ---- going from part to part -------------------------------------------------------------------------------

async function go(href, { push = true, focus = false } = {}) {
  const own = ++newest;
  const slow = setTimeout(() => main().setAttribute('aria-busy', 'true'), PATIENCE_MS);
  try {
    const reply = await fetch(href, { headers: { Accept: 'text/html' } });
    const text = await reply.text();
    if (own !== newest) return; // another page was asked for meanwhile
    if (!reply.ok) throw new Error(`the app answered ${reply.status}: ${text.slice(0, 200)}`);
    const page = new DOMParser().parseFromString(text, 'text/html');
    if (push) history.pushState(null, '', href);
    put(page, focus);
  } catch (error) {
    if (own === newest) tell(error, href);
  } finally {
    clearTimeout(slow);
    if (own === newest) main().removeAttribute('aria-busy');
  }
}

function put(page, focus) {
  const same = page.getElementById('main').dataset.tab === main().dataset.tab;
  const scrolled = same ? at('.list-side')?.scrollTop : 0;
  const beside = document.activeElement?.name;
  for (const part of ['#main', 'nav.tabs', '.runs']) {
    const now = at(part), next = page.querySelector(part);
    if (now && next) now.replaceWith(document.adoptNode(next));
    else if (next) at('.bar .name').after(document.adoptNode(next));
  }
  arrived();
  if (at('.list-side') && scrolled) at('.list-side').scrollTop = scrolled;
  at('.list-side [aria-current]')?.scrollIntoView({ block: 'nearest' });
  const again = same && beside && at(`.filters [name="${CSS.escape(beside)}"]`);
  if (again) again.focus();
  else if (focus) main().focus({ preventScroll: true });
  if (!same || main().classList.contains('chosen')) window.scrollTo(0, 0);
}

function arrived() {
  shownAt = performance.now();
  const { tab } = main().dataset;
  sessionStorage.setItem(`part:${tab}`, location.search);
  at('nav.tabs [aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'center' });
  if (tab === 'chat') showChat();
  state = stateNow();
}

function tell(error, href) {
  const said = document.createElement('p');
  said.className = 'notice bad';
  said.setAttribute('role', 'alert');
  said.textContent = `The app does not answer (${error.message}). Is evolcoder app still running? `;
  const again = document.createElement('a');
  again.href = href;
  again.textContent = 'Try again';
  said.append(again);
  main().prepend(said);
}

addEventListener('popstate', () => go(location.search || '?', { push: false }));

document.addEventListener('click', event => {
  const link = event.target.closest('a[href^="?"]');
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  const tab = link.dataset.tab; // a part is opened where it was left
  const left = tab && tab !== main().dataset.tab && sessionStorage.getItem(`part:${tab}`);
  const run = query => new URLSearchParams(query).get('run');
  go(left && run(left) === run(link.getAttribute('href')) ? left : link.getAttribute('href'), { focus: true });
});

// ---- forms: filters are addresses, the others ask the app to do something ------------------------------------

document.addEventListener('change', event => {
  const form = event.target.closest('form.filters, form.runs');
  if (form && event.target.matches('select')) filter(form);
});

document.addEventListener('submit', event => {
  const form = event.target;
  if (form.method === 'dialog') return;
  event.preventDefault();
  if (form.id === 'chat') ask();
  else if (form.dataset.action) act(form);
  else filter(form);
});

function filter(form) {
  const told = [...new FormData(form)].filter(([, value]) => value !== '');
  go(`?${new URLSearchParams(told)}`);
}

async function act(form) {
  const said = form.querySelector('.said') || form.closest('.vote-head')?.querySelector('.said');
  const body = valuesOf(form.dataset.with ? document.getElementById(form.dataset.with) : form);
  body.seconds = (performance.now() - shownAt) / 1000;
  const button = form.querySelector('button');
  if (button.disabled) return;
  button.disabled = true;
  form.setAttribute('aria-busy', 'true');
  try {
    const reply = await post(`do/${form.dataset.action}`, body);
    if (!reply.ok) throw new Error(`the app answered ${reply.status}`);
    const { href, said: words, result } = await reply.json();
    if (said) said.innerHTML = words || '';
    if (result) {
      at('#start-result').innerHTML = result;
      if (innerWidth < 860) at('#start-result').scrollIntoView();
    }
    if (href) await go(href);
  } catch (error) {
    tell(error, location.search);
  } finally {
    button.disabled = false;
    form.removeAttribute('aria-busy');
  }
}

function valuesOf(form) {
  const values = {};
  for (const [name, value] of new FormData(form)) {
    values[name] = name in values ? [values[name], value].flat() : value;
  }
  return values;
}

const post = (path, body, options = {}) =>
  fetch(path, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body), ...options });

// ---- chat: what was said stays while other parts are looked at -----------------------------------------------

const chat = { panes: [], sides: [], form: null, under: null, said: '' };

function showChat() {
  const form = at('#chat'), panes = at('#chat-panes');
  if (!form) return;
  for (const [name, value] of Object.entries(chat.form || {})) {
    const field = form.elements[name];
    if (field && !field.readOnly) field.value = value;
  }
  if (chat.panes.length) draw(panes);
  at('#chat-said').textContent = chat.said;
}

function draw(panes) {
  panes.dataset.sides = chat.panes.length;
  while (panes.children.length > chat.panes.length || panes.firstElementChild?.matches('.empty')) panes.lastElementChild.remove();
  chat.panes.forEach((html, number) => {
    let pane = panes.children[number];
    if (!pane) {
      pane = document.createElement('section');
      pane.className = 'pane';
      pane.id = number ? 'chat-right' : 'chat-left';
      panes.append(pane);
    }
    if (pane.shown !== html) pane.innerHTML = pane.shown = html;
  });
}

function redraw(said = '') {
  chat.said = said;
  const panes = at('#chat-panes');
  if (!panes) return;
  if (chat.panes.length) draw(panes);
  at('#chat-said').textContent = said;
}

async function ask() {
  const form = at('#chat'), question = form.elements.question.value.trim();
  if (!question || chat.under) return;
  const told = (chat.form = { ...valuesOf(form), question: '' });
  const under = (chat.under = new AbortController());
  form.elements.question.value = '';
  const body = { ...told, question, models: [told.model, told.second], sides: chat.sides, run: main().dataset.run };
  try {
    const reply = await post('chat', body, { signal: under.signal });
    if (!reply.ok) throw new Error(`the app answered ${reply.status}`);
    for await (const state of lines(reply.body)) {
      if (chat.under !== under) return;
      if (state.error) {
        redraw(state.error);
        if (at('#chat-question')) at('#chat-question').value = question;
      } else {
        Object.assign(chat, { panes: state.panes, sides: state.sides });
        redraw();
      }
    }
  } catch (error) {
    if (error.name !== 'AbortError' && chat.under === under) redraw(`The answer broke off: ${error.message}`);
  } finally {
    if (chat.under === under) chat.under = null;
  }
}

async function* lines(body) {
  const decoder = new TextDecoder();
  const reader = body.getReader();
  let rest = '';
  for (;;) {
    const { done, value } = await reader.read();
    rest += decoder.decode(value, { stream: !done });
    const whole = rest.split('\n');
    rest = whole.pop();
    for (const line of whole) yield JSON.parse(line);
    if (done) return;
  }
}

function halt() {
  if (!chat.under) return;
  chat.under.abort();
  chat.under = null;
  const unfinished = ['waiting', 'writing'];
  for (const side of chat.sides) for (const turn of side.turns) if (unfinished.includes(turn.state)) turn.state = 'stopped';
  const page = document.createElement('div');
  chat.panes = chat.panes.map(html => {
    page.innerHTML = html;
    for (const turn of page.querySelectorAll('.turn.waiting, .turn.writing')) {
      turn.className = 'turn stopped';
      turn.querySelector('.state').textContent = 'stopped';
    }
    return page.innerHTML;
  });
  redraw();
}

document.addEventListener('click', event => {
  if (event.target.closest('#chat-stop')) halt();
  if (event.target.closest('#chat-clear')) {
    halt();
    Object.assign(chat, { panes: [], sides: [], form: valuesOf(at('#chat')) });
    go(location.search);
  }
});

// ---- keys ------------------------------------------------------------------------------------------------------

const VOTES = {
  1: 'vote-a', a: 'vote-a', ArrowLeft: 'vote-a', 2: 'vote-tie', t: 'vote-tie',
  3: 'vote-b', b: 'vote-b', ArrowRight: 'vote-b', u: 'vote-undo',
};

document.addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.target.id === 'chat-question') {
    if (event.key === 'Enter' && !event.shiftKey) {
      event.preventDefault();
      ask();
    }
    return;
  }
  if (event.target.closest('input, textarea, select') || at('#keys').open) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const button = !event.repeat && VOTES[key] && document.getElementById(VOTES[key]);
  if (button) button.click();
  else if (key === 'j' || key === 'k') step(key === 'j' ? 1 : -1);
  else if (key === '/') at('.filters [type="search"], #chat-question')?.focus();
  else if (key === '?') at('#keys').showModal();
  else return;
  event.preventDefault();
});

function step(by) {
  const lines = [...document.querySelectorAll('.list .pick')];
  const now = lines.findIndex(line => line.hasAttribute('aria-current'));
  lines[now + by]?.click();
}

document.addEventListener('click', event => {
  if (event.target.closest('#keys-open')) at('#keys').showModal();
});

// ---- the live view -----------------------------------------------------------------------------------------------

async function look() {
  const live = at('#live');
  if (live && !document.hidden) {
    try {
      const reply = await fetch(`live?${new URLSearchParams({ run: live.dataset.run })}`);
      const html = reply.ok ? await reply.text() : null;
      if (html !== null && html !== live.shown && live.isConnected) {
        live.innerHTML = live.shown = html;
        if (stateNow() !== state) go(location.search, { push: false });
      }
      document.body.classList.toggle('away', !reply.ok);
    } catch {
      document.body.classList.add('away');
    }
  }
  setTimeout(look, Number(at('#live')?.dataset.every) || 2000);
}

function stateNow() {
  return `${at('#live .state-now')?.textContent} ${at('#live [data-control]')?.dataset.control}`;
}

arrived();
setTimeout(look, 2000);
