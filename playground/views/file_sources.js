/** Where files come from: the picker, the clipboard, and what is dropped on the chat. */

/**
 * @param {object} places
 * @param {HTMLButtonElement} places.opener opens the picker
 * @param {HTMLInputElement} places.picker
 * @param {HTMLElement} places.paste
 * @param {HTMLElement} places.drop
 * @param {(files: FileList) => void} attach
 */
export function receiveFiles({ opener, picker, paste, drop }, attach) {
  opener.addEventListener("click", () => picker.click());
  picker.addEventListener("change", () => {
    attach(picker.files);
    picker.value = ""; // so that the same file may be chosen again
  });
  paste.addEventListener("paste", (event) => {
    if (!event.clipboardData.files.length) return;
    event.preventDefault();
    attach(event.clipboardData.files);
  });
  drop.addEventListener("dragover", (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    drop.dataset.dropping = "";
  });
  drop.addEventListener("dragleave", (event) => {
    if (!drop.contains(event.relatedTarget)) delete drop.dataset.dropping;
  });
  drop.addEventListener("drop", (event) => {
    delete drop.dataset.dropping;
    if (!event.dataTransfer.files.length) return;
    event.preventDefault();
    attach(event.dataTransfer.files);
  });
}
