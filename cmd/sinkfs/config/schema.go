package config

import (
	"encoding/json"
	"reflect"
	"strings"
)

// Schema is the JSON schema of the file, made from the struct that the file
// is read into.
func Schema() ([]byte, error) {
	s := schemaOf(reflect.ValueOf(defaults()).Elem())
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = "sinkfs configuration"
	return json.MarshalIndent(s, "", "  ")
}

func schemaOf(v reflect.Value) map[string]any {
	properties := map[string]any{}
	fieldsOf(v.Type(), func(key string, f reflect.StructField) {
		p := schemaOfField(v.FieldByIndex(f.Index), f)
		p["description"] = f.Tag.Get("doc")
		properties[key] = p
	})
	return map[string]any{"type": "object", "additionalProperties": false, "properties": properties}
}

func schemaOfField(v reflect.Value, f reflect.StructField) map[string]any {
	if v.Kind() == reflect.Slice {
		item := map[string]any{"type": "string"}
		if isGroup(v.Type().Elem()) {
			item = schemaOf(reflect.ValueOf(defaultSink()))
			item["required"] = []string{"path"}
		}
		s := map[string]any{"type": "array", "items": item}
		if v.Len() > 0 {
			s["default"] = v.Interface()
		}
		return s
	}
	if isGroup(v.Type()) {
		return schemaOf(v)
	}
	s := schemaOfScalar(v)
	if enum := f.Tag.Get("enum"); enum != "" {
		s["enum"] = strings.Split(enum, ",")
	}
	return s
}

func schemaOfScalar(v reflect.Value) map[string]any {
	switch x := v.Interface().(type) {
	case Duration:
		return map[string]any{"type": []string{"string", "integer"}, "pattern": `^(0|([0-9.]+(ns|us|µs|ms|s|m|h))+|[0-9]+d)$`, "default": x.String()}
	case Size:
		return map[string]any{"type": []string{"string", "integer"}, "pattern": `^[0-9.]+ *([KMGT]iB|[kMGT]B|B)?$`, "default": x.String()}
	case FileMode:
		return map[string]any{"type": []string{"string", "integer"}, "pattern": `^(0o)?[0-7]{3,4}$`, "default": x.String()}
	case bool:
		return map[string]any{"type": "boolean", "default": x}
	case int:
		return map[string]any{"type": "integer", "default": x}
	case string:
		s := map[string]any{"type": "string"}
		if x != "" {
			s["default"] = x
		}
		return s
	}
	return map[string]any{}
}
