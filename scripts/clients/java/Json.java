import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** JSON texts and values: Map, List, String, Double, Boolean and null. Java has no such class of its own. */
final class Json {
    private final String text;
    private int at = 0;

    private Json(String text) {
        this.text = text;
    }

    /**
     * The value of a text.
     *
     * @throws IllegalArgumentException it is not JSON; the message says where
     */
    static Object parse(String text) {
        Json json = new Json(text);
        Object value = json.value();
        json.skipSpace();
        if (json.at < text.length()) throw json.unexpected("the end");
        return value;
    }

    /** The text of a value. */
    static String write(Object value) {
        StringBuilder out = new StringBuilder();
        write(value, out);
        return out.toString();
    }

    private static void write(Object value, StringBuilder out) {
        String separator = "";
        if (value instanceof Map<?, ?> map) {
            out.append('{');
            for (var entry : map.entrySet()) {
                out.append(separator);
                write(entry.getKey(), out);
                out.append(':');
                write(entry.getValue(), out);
                separator = ",";
            }
            out.append('}');
        } else if (value instanceof List<?> list) {
            out.append('[');
            for (Object each : list) {
                out.append(separator);
                write(each, out);
                separator = ",";
            }
            out.append(']');
        } else if (value instanceof String string) {
            out.append('"');
            for (char c : string.toCharArray()) {
                if (c == '"' || c == '\\') out.append('\\').append(c);
                else if (c < ' ') out.append(String.format("\\u%04x", (int) c));
                else out.append(c);
            }
            out.append('"');
        } else if (value instanceof Double number && number == Math.rint(number) && Math.abs(number) < 1e15) {
            out.append(number.longValue());
        } else {
            out.append(value);
        }
    }

    private Object value() {
        skipSpace();
        char first = at < text.length() ? text.charAt(at) : '\0';
        return switch (first) {
            case '{' -> object();
            case '[' -> array();
            case '"' -> string();
            case 't' -> word("true", true);
            case 'f' -> word("false", false);
            case 'n' -> word("null", null);
            default -> number();
        };
    }

    private Map<String, Object> object() {
        Map<String, Object> map = new LinkedHashMap<>();
        at++;
        for (boolean isFirst = true; !ends('}', isFirst); isFirst = false) {
            skipSpace();
            String name = string();
            expect(':');
            map.put(name, value());
        }
        return map;
    }

    private List<Object> array() {
        List<Object> list = new ArrayList<>();
        at++;
        for (boolean isFirst = true; !ends(']', isFirst); isFirst = false) list.add(value());
        return list;
    }

    /** Whether an object or array ends here; otherwise reads the comma before its next element. */
    private boolean ends(char end, boolean isFirst) {
        skipSpace();
        if (at < text.length() && text.charAt(at) == end) {
            at++;
            return true;
        }
        if (!isFirst) expect(',');
        return false;
    }

    private String string() {
        expect('"');
        StringBuilder out = new StringBuilder();
        while (at < text.length() && text.charAt(at) != '"') {
            char c = text.charAt(at++);
            out.append(c == '\\' ? escape() : c);
        }
        expect('"');
        return out.toString();
    }

    private char escape() {
        if (at == text.length()) throw unexpected("an escape");
        char c = text.charAt(at++);
        switch (c) {
            case 'b': return '\b';
            case 'f': return '\f';
            case 'n': return '\n';
            case 'r': return '\r';
            case 't': return '\t';
            case '"', '\\', '/': return c;
            case 'u':
                if (at + 4 > text.length()) throw unexpected("four digits");
                at += 4;
                return (char) Integer.parseInt(text.substring(at - 4, at), 16);
            default: throw unexpected("an escape");
        }
    }

    private Object word(String word, Object value) {
        if (!text.startsWith(word, at)) throw unexpected(word);
        at += word.length();
        return value;
    }

    private Double number() {
        int start = at;
        while (at < text.length() && "+-.eE0123456789".indexOf(text.charAt(at)) >= 0) at++;
        if (start == at) throw unexpected("a value");
        return Double.valueOf(text.substring(start, at));
    }

    private void expect(char c) {
        skipSpace();
        if (at == text.length() || text.charAt(at) != c) throw unexpected("'" + c + "'");
        at++;
    }

    private void skipSpace() {
        while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) at++;
    }

    private IllegalArgumentException unexpected(String expected) {
        String found = at < text.length() ? "'" + text.charAt(at) + "'" : "the end";
        return new IllegalArgumentException("JSON: expected " + expected + " at " + at + ", found " + found);
    }
}
