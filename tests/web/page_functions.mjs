// Calls functions of a script that knows no document. Lines of JSON come in: the script's text first, then
// [function, argument, ...] each; for each, {"result": ...} or {"error": ...} goes out.
import {createInterface} from "node:readline";

let evaluate = null;
for await (const line of createInterface({input: process.stdin})) {
  const found = JSON.parse(line);
  if (evaluate === null) evaluate = new Function("expression", found + "\nreturn eval(expression);");
  else console.log(JSON.stringify(answer(...found)));
}

function answer(name, ...values) {
  try {
    return {result: evaluate("(" + name + ")")(...values)};
  } catch (error) {
    return {error: String(error)};
  }
}
