/** What examining stores takes: every scheme, in one import. */
export { chooseChain } from "../config/choose.ts";
export { patientsOf } from "../config/patients.ts";
