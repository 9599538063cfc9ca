// Runs the JavaScript of genro-tytx: node tytx_bridge.mjs BUNDLE, one JSON question per line in, one answer per line out.
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import vm from 'node:vm';

vm.runInThisContext(readFileSync(process.argv[2], 'utf8'));
const { toTytx, fromTytx, isDecimal, getDateType } = globalThis.TYTX;

// What a value is, in a form that Python can compare.
function seen(value) {
    if (isDecimal(value)) return { type: 'Decimal', value: value.toString() };
    if (value instanceof Date) return { type: getDateType(value), value: value.toISOString() };
    if (value instanceof Uint8Array) return { type: 'bytes', value: Buffer.from(value).toString('hex') };
    if (Array.isArray(value)) return value.map(seen);
    if (value && typeof value === 'object') return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, seen(v)]));
    return value;
}

for await (const line of createInterface({ input: process.stdin })) {
    const { data, transport } = JSON.parse(line);
    let answer;
    try {
        const value = fromTytx(transport === 'msgpack' ? Buffer.from(data, 'base64') : data, transport);
        const back = toTytx(value, transport);
        answer = { seen: seen(value), back: typeof back === 'string' ? back : Buffer.from(back).toString('base64') };
    } catch (error) {
        answer = { error: String(error) };
    }
    console.log(JSON.stringify(answer));
}
