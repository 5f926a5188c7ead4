// What conformance/uncaught.mjs is in Node.js, for pages.

/** Runs `act`; the errors that were reported as uncaught meanwhile, and until the next turn. Nobody else is told of them. */
export async function uncaughtDuring(act) {
  const caught = [];
  const take = (event) => {
    caught.push(event.error);
    event.preventDefault();
  };
  addEventListener('error', take);
  try {
    await act();
    await new Promise((resolve) => setTimeout(resolve));
  } finally {
    removeEventListener('error', take);
  }
  return caught;
}
