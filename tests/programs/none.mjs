/** A module that exports no program. */
export const functions = {};
