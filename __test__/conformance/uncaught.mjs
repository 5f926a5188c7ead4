// What was reported as uncaught while something ran, instead of ending the test.

/** Errors that were reported as uncaught while `act` ran, and shortly after. */
export async function uncaughtDuring(act) {
  const caught = [];
  const before = process.listeners('uncaughtException');
  process.removeAllListeners('uncaughtException');
  process.on('uncaughtException', (error) => caught.push(error));
  try {
    await act();
    await new Promise(setImmediate);
  } finally {
    process.removeAllListeners('uncaughtException');
    for (const listener of before) process.on('uncaughtException', listener);
  }
  return caught;
}
