import { useState } from "react";
import { FlatList, Image, Text, View } from "react-native";
import { session } from "../../shared/session";
import box from "./img/box.png";

let opened = 0;

export function Orders() {
  const [number] = useState(() => ++opened);
  return (
    <View>
      <Image source={box} />
      <Text>{`Orders of ${session.user}, opened ${number}`}</Text>
      <FlatList data={session.basket} keyExtractor={(item, n) => item + n} renderItem={({ item }) => <Text>{item}</Text>} />
    </View>
  );
}
