// Python beside the page: loads Pyodide, NumPy and this package from this directory, then answers questions.
"use strict";

importScripts("runtime/pyodide.js");

const PACKAGES = ["runtime/numpy.zip", "flower_coded.zip"];

async function bytesOf(file) {
  const response = await fetch(file);
  if (!response.ok) throw new Error(`${file} is not there (status ${response.status})`);
  return new Uint8Array(await response.arrayBuffer());
}

async function start() {
  const [python, ...archives] = await Promise.all([
    loadPyodide({ indexURL: new URL("runtime/", self.location.href).href }),
    ...PACKAGES.map(bytesOf),
  ]);
  // This NumPy looks at its callers before it reuses the memory of a large temporary array, by a function that
  // browsers do not have. "No callers known" tells it not to.
  python._module.LDSO.loadedLibsByName["__main__"].exports.backtrace = () => 0;
  archives.forEach((archive, index) => python.FS.writeFile(`/tmp/${index}.zip`, archive));
  return python.runPython(`
import site, zipfile

for index in range(${archives.length}):
    zipfile.ZipFile(f"/tmp/{index}.zip").extractall(site.getsitepackages()[0])

from flower_coded.lesson import respond
from flower_coded.lesson.scipy_stand_in import install

install()
respond
`);
}

// Of a Python traceback the last line says what happened.
const reasonOf = (error) => String(error.message ?? error).trim().split("\n").at(-1);

const starting = start();
starting.then(
  () => self.postMessage({ kind: "ready" }),
  (error) => self.postMessage({ kind: "failed", reason: reasonOf(error) }),
);

self.onmessage = async ({ data: { part, settings } }) => {
  const respond = await starting;
  let answer;
  try {
    answer = respond(part, settings);
  } catch (error) {
    answer = JSON.stringify({ refusal: reasonOf(error) }); // a fault of ours: the page goes on
  }
  self.postMessage({ kind: "answer", part, answer });
};
