import { Text } from "react-native";

export function Price({ cents }) {
  return <Text>{`€ ${(cents / 100).toFixed(2)}`}</Text>;
}
