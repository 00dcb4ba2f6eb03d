/** The peers are installed beside this file, so it is from here that their names mean something. */
/** @param {string} name */
export function load(name) {
  return import(name);
}
