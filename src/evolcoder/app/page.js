// Votes by keyboard: each key presses the button that stands for it, while that button is in sight.
document.addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const at = event.target;
  if (at.closest && at.closest('input, textarea, select, [contenteditable="true"]')) return;
  const id = {
    '1': 'vote-a', 'a': 'vote-a', 'ArrowLeft': 'vote-a',
    '2': 'vote-tie', 't': 'vote-tie',
    '3': 'vote-b', 'b': 'vote-b', 'ArrowRight': 'vote-b',
    'u': 'vote-undo',
  }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  const button = id && document.getElementById(id);
  if (!button || button.offsetParent === null || button.disabled) return;
  event.preventDefault();
  button.click();
});
// The line of a list that was pressed last stays marked: what stands beside the list is about it.
document.addEventListener('click', event => {
  const line = event.target.closest && event.target.closest('.list .pick');
  if (!line) return;
  for (const other of line.closest('.list').querySelectorAll('[aria-current]')) other.removeAttribute('aria-current');
  line.setAttribute('aria-current', 'true');
});
