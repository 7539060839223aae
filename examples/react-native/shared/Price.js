import { Image, Text, View } from "react-native";
import coin from "./img/coin.png";

export function Price({ cents }) {
  return (
    <View>
      <Image source={coin} />
      <Text>{`€ ${(cents / 100).toFixed(2)}`}</Text>
    </View>
  );
}
