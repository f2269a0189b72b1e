// Calls over embind without code made at run time, which Workers refuse: in place of the `new Function` of the glue that
// Emscripten writes by default.

// A C++ function as one of JavaScript's. The first two types are those of its answer and of `this`.
export function functionOf([answer, , ...types], returns, invoke, target, runDestructors) {
  return (...values) => {
    const destructors = [];
    const wired = types.map((type, index) => type.toWireType(destructors, values[index]));
    const result = invoke(target, ...wired);
    runDestructors(destructors);
    return returns ? answer.fromWireType(result) : undefined;
  };
}

const METHOD = 0;
const CONSTRUCTOR = 1;

// What C++ calls to call JavaScript, with arguments that lie packed at an address.
export function callerOf(types, answer, kind, toAnswer) {
  return (object, called, destructors, address) => {
    let at = address;
    const values = types.map((type) => {
      const value = type.readValueFromPointer(at);
      at += type.argPackAdvance;
      return value;
    });
    let result;
    if (kind === CONSTRUCTOR) result = new called(...values);
    else if (kind === METHOD) result = called.call(object, ...values);
    else result = called.call(...values);
    return answer.isVoid ? undefined : toAnswer(answer, destructors, result);
  };
}
